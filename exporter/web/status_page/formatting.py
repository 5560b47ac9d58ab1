"""Figures, units, names and levels of tokens, as the pages write them. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Final, Literal, get_args

from exporter.buckets.bucket import Bucket

_PLAIN: Final = re.compile(r"\(*\s*(?:(?:max|min|avg)\s*(?:by|without)?\s*(?:\([\w\s,]*\))?\s*\(\s*)*(\w+)")
"""What an expression begins with: a metric, perhaps the greatest or least of it."""

_AGE: Final = re.compile(r"\s*time\(\)\s*-\s*")
_ARITHMETIC: Final = re.compile(r"[*/^%+]|\s-\s")
_WORD: Final = re.compile(r"[A-Z]+[a-z0-9]*|[^A-Z]+")
_BREAKS: Final = re.compile(r"(?<=_)(?=.)|(?<=[a-z0-9])(?=[A-Z])")

UNITS: Final = {
    "_percent": "%",
    "_tokens": "tokens",
    "_capacity": "tokens",
    "_seconds": "s",
    "_per_minute": "tokens / min",
    "_404_rate": "share",
    "_policies": "policies",
}
"""The unit of a metric's values, by the end of its name; ``share`` is 0 to 1."""


def figure(value: float) -> str:
    """Returns an alert's value, which may be of any size: ``0.3563``, ``36,000``."""
    return f"{value:,.0f}" if math.isfinite(value) and abs(value) >= 1_000 else f"{value:.4g}"


def unit_of(expr: str) -> str | None:
    """Returns a unit of `UNITS` where an expression's values are those of a gauge; None: the unit is not known."""
    first = _without_filters(re.split(r"\bor\b", expr, maxsplit=1)[0])
    age = _AGE.match(first)
    rest = first[age.end() :] if age else first
    plain = _PLAIN.match(rest)
    if plain is None or _ARITHMETIC.search(rest):
        return None
    name = plain[1]
    if name.endswith("_timestamp_seconds"):
        return "s" if age else None
    return None if age else next((unit for end, unit in UNITS.items() if name.endswith(end)), None)


def _without_filters(expr: str) -> str:
    """Returns an expression without the right sides of ``and`` and ``unless``, which change no value."""
    kept, depth, filtered_at = [], 0, None
    for part in re.split(r"([()]|\band\b|\bunless\b)", expr):
        depth += (part == "(") - (part == ")")
        if filtered_at is not None and depth < filtered_at:
            filtered_at = None
        if filtered_at is None and part in ("and", "unless"):
            filtered_at = depth
        if filtered_at is None:
            kept.append(part)
    return "".join(kept)


def breakable(name: str) -> list[str]:
    """Returns the parts between which a long name may be broken: after underscores, before capitals."""
    return _BREAKS.split(name)


def shorter(name: str, beside: str) -> str:
    """Returns how a name differs from the one beside it: ``Low`` of ``TokensLow`` beside ``TokensCritical``."""
    words, others = _WORD.findall(name), _WORD.findall(beside)
    same = 0
    while same < min(len(words), len(others)) - 1 and words[same] == others[same]:
        same += 1
    return "".join(words[same:]) or name


def short_paths(paths: Iterable[str]) -> dict[str, str]:
    """Returns the shortest end of each path that no other has: mostly the file's name."""
    distinct = sorted(set(paths))
    short: dict[str, str] = {}
    for path in distinct:
        parts = PurePath(path).parts
        ends = ("/".join(parts[-count:]) for count in range(1, len(parts) + 1))
        short[path] = next((e for e in ends if sum(f"/{other}".endswith(f"/{e}") for other in distinct) == 1), path)
    return short


WARNING_LEFT_PERCENT: Final = 20
CRITICAL_LEFT_PERCENT: Final = 10
"""Tokens left at which the shipped rules warn. A test holds them against the rule file."""

Level = Literal["ok", "warning", "critical", "empty"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)


def level_of(bucket: Bucket) -> Level:
    if bucket.is_empty:
        return "empty"
    if bucket.left_percent <= CRITICAL_LEFT_PERCENT:
        return "critical"
    return "warning" if bucket.left_percent <= WARNING_LEFT_PERCENT else "ok"

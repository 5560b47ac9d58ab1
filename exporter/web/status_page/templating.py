"""The pages' templates, and how they write figures, units and names. jinja2 is imported when a page is rendered."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from exporter import __version__
from exporter.buckets.bucket import CRITICAL_LEFT_PERCENT, WARNING_LEFT_PERCENT
from exporter.clock import in_utc
from exporter.durations import spaced
from exporter.numbers import counted
from exporter.web.status_page.chart import sparkline, sparkline_area

if TYPE_CHECKING:
    from jinja2 import Environment


_PLAIN: Final = re.compile(r"\(*\s*(?:(?:max|min|avg)\s*(?:by|without)?\s*(?:\([\w\s,]*\))?\s*\(\s*)*(\w+)")
"""What an expression begins with: a metric, perhaps the greatest or least of it."""

_QUOTIENT: Final = re.compile(_PLAIN.pattern + r"\s*/\s*(\w+)[\s)]*(?:[<>=!][^/]*)?")
"""One metric as a share of another, perhaps compared with a number."""

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
    "_429_rate": "share",
    "_policies": "policies",
}
"""The unit of a metric's values, by the end of its name; ``share`` is 0 to 1."""


def render(template: str, *, refresh_seconds: float | None = None, **context: Any) -> str:
    """Returns a template of the folder ``templates`` as HTML; None: the page is not loaded again."""
    page = _environment().get_template(template)
    names = page.new_context({**context, "refresh_seconds": refresh_seconds})
    try:
        return "".join(page.root_render_func(names))
    except Exception:  # noqa: BLE001 - raised again, with the template's lines in it
        page.environment.handle_exception()
    finally:
        # Macros refer to them: what a page showed, all polls of that moment, would wait for the garbage collector.
        names.vars.clear()


def message(status: int, title: str, text: str, root: str, back: str = "") -> HTMLResponse:
    """Returns a page that says why there is no other; ``root`` leads to the status page, ``back`` on from there."""
    now = datetime.now(UTC)
    html = render("message.html", root=root, now=now, title=title, text=text, back=back)
    return HTMLResponse(html, status)


def root_of(request: Request) -> str:
    """Returns the relative path from a page to the status page: browsers count the slashes of the address as sent."""
    deep = request.scope["raw_path"].count(b"/") - 1
    return "../" * deep or "./"


def bucket_path(participant: str, policy: str) -> str:
    """Returns where a bucket's page is, from the status page."""
    return f"buckets/{quote(participant, safe='')}/{quote(policy, safe='')}"


def number(value: float) -> str:
    """Returns tokens or a count: ``36,000``, ``9.5``."""
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.1f}"


def share(percent: float) -> str:
    """Returns a percentage as precise as it matters: ``74``, ``8.3``."""
    return f"{percent:.0f}" if percent >= 10 or percent == 0 else f"{percent:.1f}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("exporter.web.status_page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "breakable": _breakable,
        "clock": in_utc,
        "code": _code,
        "duration": spaced,
        "figure": figure,
        "instant": "{:%Y-%m-%dT%H:%M:%SZ}".format,
        "number": number,
        "share": share,
        "shorter": shorter,
    }
    environment.globals |= {
        "bucket_path": bucket_path,
        "counted": counted,
        "critical_percent": CRITICAL_LEFT_PERCENT,
        "sparkline": sparkline,
        "sparkline_area": sparkline_area,
        "version": __version__,
        "warning_percent": WARNING_LEFT_PERCENT,
    }
    return environment


def _code(sentence: str) -> Markup:
    """Returns a sentence with what stands between backticks as code."""
    parts = sentence.split("`")
    return Markup("").join(Markup("<code>%s</code>") % part if n % 2 else escape(part) for n, part in enumerate(parts))


def _breakable(name: str) -> Markup:
    return Markup("<wbr>").join(breakable(name))  # join escapes each part


def figure(value: float) -> str:
    """Returns an alert's value, which may be of any size: ``0.3563``, ``36,000``."""
    return f"{value:,.0f}" if math.isfinite(value) and abs(value) >= 1_000 else f"{value:.4g}"


def unit_of(expr: str) -> str | None:
    """Returns a unit of `UNITS` where an expression's values are those of a gauge; None: the unit is not known."""
    first = _without_filters(re.split(r"\bor\b", expr, maxsplit=1)[0])
    age = _AGE.match(first)
    rest = first[age.end() :] if age else first
    quotient = _QUOTIENT.fullmatch(rest)
    if quotient is not None and not age:
        dividend, divisor = (_unit_of_metric(name) for name in quotient.groups())
        return "share" if dividend is not None and dividend == divisor else None
    plain = _PLAIN.match(rest)
    if plain is None or _ARITHMETIC.search(rest):
        return None
    name = plain[1]
    if name.endswith("_timestamp_seconds"):
        return "s" if age else None
    return None if age else _unit_of_metric(name)


def _unit_of_metric(name: str) -> str | None:
    return next((unit for end, unit in UNITS.items() if name.endswith(end)), None)


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

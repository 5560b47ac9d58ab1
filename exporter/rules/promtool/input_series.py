"""Input series of rule unit tests, in promtool's expanding notation."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import promql_parser as promql

from exporter.rules.promql.parser import parse
from exporter.rules.promql.series import METRIC_NAME, Labels

LOOKBACK_MS: Final = 300_000
"""The lookback delta, inclusive, as in Prometheus 2."""

_NUMBER: Final = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_ITEM: Final = re.compile(
    rf"(?P<blank>_)(?:x(?P<blanks>[0-9]+))?"
    rf"|(?P<stale>stale)"
    rf"|(?P<special>[+-]?(?:[iI][nN][fF]|[nN][aA][nN]))"
    rf"|(?P<first>[+-]?{_NUMBER})(?:(?P<step>[+-]{_NUMBER})?x(?P<times>[0-9]+))?"
)

_LONGEST: Final = 1_000_000
"""More samples than any test needs: a typo must not exhaust memory."""


class _Stale:
    def __repr__(self) -> str:
        return "stale"


STALE: Final = _Stale()


@dataclass(frozen=True, slots=True)
class InputSeries:
    """A series of a test: its samples' times (milliseconds since 1970, rising) and values."""

    name: str
    labels: Labels
    times_ms: tuple[int, ...]
    values: tuple[float | _Stale, ...]

    def at(self, time_ms: int) -> float | None:
        """Returns what a query at that time sees, if anything."""
        index = bisect_right(self.times_ms, time_ms) - 1
        if index < 0 or time_ms - self.times_ms[index] > LOOKBACK_MS:
            return None
        value = self.values[index]
        return None if isinstance(value, _Stale) else value


def input_series(series: str, values: str, interval_ms: int) -> InputSeries:
    """Raises ValueError where either is not in promtool's notation."""
    name, labels = parse_series(series)
    samples = [(index * interval_ms, value) for index, value in enumerate(expand(values)) if value is not None]
    return InputSeries(name, labels, tuple(time for time, _ in samples), tuple(value for _, value in samples))


def parse_series(text: str) -> tuple[str, Labels]:
    """Returns name and labels of ``name{a="b"}``. Raises ValueError."""
    if not text.replace(" ", "").strip("{}"):
        return "", Labels(())
    try:
        tree = parse(text)
    except ValueError as error:
        raise ValueError(f"`{text}` is not a series: {error}") from None
    if not isinstance(tree, promql.VectorSelector) or tree.offset is not None or tree.at is not None:
        raise ValueError(f"`{text}` is not a series")
    labels: dict[str, str] = {}
    for matcher in tree.matchers.matchers:
        if str(matcher.op) != "MatchOp.Equal" or matcher.name in labels:
            raise ValueError(f"`{text}` is not a series: each label is given once, with =")
        labels[matcher.name] = matcher.value
    return labels.get(METRIC_NAME, tree.name or ""), Labels.of(labels)


def expand(values: str) -> Sequence[float | _Stale | None]:
    """Returns the samples; None is a gap. ``1+2x3`` is 1 3 5 7, ``_x3`` is three gaps. Raises ValueError."""
    samples: list[float | _Stale | None] = []
    for item in values.split():
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"`{item}` is not a value: write 1, 1x5, 1+2x5, _, _x5 or stale")
        times = int(match["blanks"] or match["times"] or 0)
        if len(samples) + times > _LONGEST:
            raise ValueError(f"`{item}` makes more than {_LONGEST} samples")
        if match["blank"]:
            samples += [None] * (times if match["blanks"] else 1)
        elif match["stale"]:
            samples.append(STALE)
        elif match["special"]:
            samples.append(float(match["special"]))
        else:
            samples += _stepped(float(match["first"]), match["step"], times)
    return samples


def _stepped(value: float, step: str | None, times: int) -> list[float | _Stale | None]:
    """Added up one after the other, as promtool does: the last digits are part of the notation."""
    samples: list[float | _Stale | None] = [value]
    for _ in range(times):
        value = value + float(step) if step is not None else value
        samples.append(value)
    return samples

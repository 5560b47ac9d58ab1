"""Input series of rule unit tests, in promtool's notation, expanded."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import Final

from exporter.buckets.gauge_history import ABSENT, Samples, without_gaps
from exporter.rules.promql.parser import parse
from exporter.rules.promql.series import METRIC_NAME, Labels
from exporter.rules.promql.tree import Selector

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

    def sample(self, time_ms: int, until_ms: int, lookback_ms: int) -> tuple[int, float] | None:
        """Returns what a query at that time sees: the last sample up to ``until_ms``, if it is younger."""
        index = bisect_right(self.times_ms, min(time_ms, until_ms)) - 1
        if index < 0 or time_ms - self.times_ms[index] >= lookback_ms:
            return None
        value = self.values[index]
        return None if isinstance(value, _Stale) else (self.times_ms[index], value)

    def between(self, begin_ms: int, end_ms: int) -> Samples:
        """Returns the samples after ``begin_ms`` and up to ``end_ms``."""
        samples = self.with_ends(begin_ms, end_ms)
        return without_gaps(samples.times_ms, samples.values)

    def with_ends(self, begin_ms: int, end_ms: int) -> Samples:
        """Returns the same with the marks of where the series ends."""
        within = slice(bisect_right(self.times_ms, begin_ms), bisect_right(self.times_ms, end_ms))
        return Samples(
            self.times_ms[within], [ABSENT if isinstance(value, _Stale) else value for value in self.values[within]]
        )


def input_series(series: str, values: str, interval_ms: int, start_ms: int = 0) -> InputSeries:
    """Raises ValueError where either is not in promtool's notation."""
    name, labels = parse_series(series)
    samples = [
        (start_ms + index * interval_ms, value) for index, value in enumerate(expand(values)) if value is not None
    ]
    return InputSeries(name, labels, tuple(time for time, _ in samples), tuple(value for _, value in samples))


def parse_series(text: str) -> tuple[str, Labels]:
    """Returns name and labels of ``name{a="b"}``. Raises ValueError."""
    if not text.replace(" ", "").strip("{}"):
        return "", Labels(())
    try:
        tree = parse(text)
    except ValueError as error:
        raise ValueError(f"`{text}` is not a series: {error}") from None
    if not isinstance(tree, Selector) or tree.offset is not None or tree.at is not None or tree.mode is not None:
        raise ValueError(f"`{text}` is not a series")
    labels: dict[str, str] = {}
    for matcher in tree.matchers:
        if matcher.operator != "=" or matcher.label in labels:
            raise ValueError(f"`{text}` is not a series: each label is given once, with =")
        labels[matcher.label] = matcher.value
    return labels.get(METRIC_NAME, tree.name), Labels.of(labels)


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
            # Added up one after the other, as promtool does: the last digits are part of the notation.
            step = float(match["step"] or "-0")  # adding -0 changes nothing, not even -0
            samples += accumulate(repeat(step, times), initial=float(match["first"]))
    return samples

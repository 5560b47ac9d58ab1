"""What `/metrics` showed of a participant after its last polls and reads: gauges and counts that rules look back at."""

from __future__ import annotations

import math
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from exporter.buckets.bucket import PolicyName
from exporter.buckets.gauges import BUCKET_METRIC_BY_NAME, BucketCounter, Subject, shown
from exporter.buckets.observation import BucketObservation, Failure, View

_ABSENT_BYTES: Final = struct.pack("<Q", 0x7FF0000000000002)
ABSENT: Final[float] = struct.unpack("<d", _ABSENT_BYTES)[0]
"""Prometheus' staleness mark: a NaN that no arithmetic makes. Here it fills the gaps of a series."""

SAMPLE_BYTES: Final = 8
"""A value; a time has as many."""

_SLACK: Final = 1.25
_FEWEST: Final = 64
"""How much more than what is needed is kept, so that not each sample moves all the others: by factor, and samples."""


def milliseconds(at: datetime) -> int:
    """Returns a time in milliseconds since 1970, as Prometheus counts."""
    return math.floor(at.timestamp() * 1000.0 + 0.5)


def most_bytes(kept_ms: Mapping[str, int], samples_per_minute: float, policies: int) -> int:
    """Returns the bytes that the samples of one participant take at most, who has ``policies`` buckets."""
    longest = max(kept_ms.values(), default=0) / 60_000 * samples_per_minute
    slack = longest * (_SLACK - 1) + _FEWEST
    samples = longest + slack  # the times
    for gauge, ms in kept_ms.items():
        metric = BUCKET_METRIC_BY_NAME.get(gauge)
        series = 1 if metric is None else policies
        if isinstance(metric, BucketCounter):
            series *= len(metric.label_values)
        samples += (ms / 60_000 * samples_per_minute + slack) * series
    return math.ceil(samples * SAMPLE_BYTES)


class Magnitudes(NamedTuple):
    """The bounds of absolute values that are not 0: infinite and 0 where none was, the greatest NaN where one was."""

    least: float
    greatest: float


class Samples(NamedTuple):
    """Samples of one series: their times (milliseconds since 1970, rising) and values.

    ``magnitudes`` are those of the samples, and maybe of earlier ones, too; None: they are not known.
    """

    times_ms: Sequence[int]
    values: Sequence[float]
    magnitudes: Magnitudes | None = None


class GaugeHistory:
    """Samples of one participant's gauges, all at the same times: one for each poll that was evaluated.

    A read is one, too, where it showed something new: of others there is no row in the database, from which the same
    must come. ``kept_ms`` is for how long which gauges are kept, in milliseconds. What was absent after a poll has no
    sample then.
    """

    __slots__ = ("_dropped", "_full_at", "_latest", "_series", "_times_ms", "kept_ms")

    def __init__(self, kept_ms: Mapping[str, int]) -> None:
        self.kept_ms = kept_ms
        self._times_ms = array("q")
        self._series: dict[str, dict[Subject, _Series]] = {name: {} for name in kept_ms}
        self._latest: View | None = None
        self._dropped = 0
        self._full_at = _FEWEST

    @property
    def times(self) -> int:
        """How many times there are samples of."""
        return len(self._times_ms)

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same of what is to be kept."""
        if not isinstance(other, GaugeHistory):
            return NotImplemented
        return self.kept_ms == other.kept_ms and list(self._kept()) == list(other._kept())

    __hash__ = None  # type: ignore[assignment]

    def copy(self) -> GaugeHistory:
        """Returns a history of its own, to which other samples can be added."""
        other = GaugeHistory(self.kept_ms)
        other._times_ms, other._dropped, other._latest = self._times_ms[:], self._dropped, self._latest
        other._full_at = self._full_at
        other._series = {
            name: {subject: series.copy() for subject, series in of_gauge.items()}
            for name, of_gauge in self._series.items()
        }
        return other

    @property
    def size_bytes(self) -> int:
        """The bytes of all samples."""
        values = sum(len(series.values) for of_gauge in self._series.values() for series in of_gauge.values())
        return (len(self._times_ms) + values) * SAMPLE_BYTES

    def keep(self, kept_ms: Mapping[str, int]) -> None:
        """Keeps no more than that from now on."""
        self.kept_ms = kept_ms
        self._series = {name: self._series.get(name, {}) for name in kept_ms}

    def clear(self) -> None:
        self._times_ms = array("q")
        self._series = {name: {} for name in self.kept_ms}
        self._latest = None
        self._dropped = 0

    def add(self, view: View) -> bool:
        """Adds what the view shows, and returns whether that is a sample.

        Of the same millisecond the last is kept, and what is not later is left out. Where the participant was removed,
        all is forgotten: what comes later is another beginning.
        """
        if view.poll.is_removal:
            self.clear()
            return False
        latest, self._latest = self._latest, view
        is_news = latest is None or _is_news(view, latest)
        if is_news and self.kept_ms:
            self._add(view, milliseconds(view.at))
        return is_news

    def _add(self, view: View, at_ms: int) -> None:
        if self._times_ms and at_ms <= self._times_ms[-1]:
            if at_ms < self._times_ms[-1]:
                return
            self._take_last()
        number = self._dropped + len(self._times_ms)
        self._times_ms.append(at_ms)
        for name, of_gauge in self._series.items():
            for subject, value in shown(name, view):
                series = of_gauge.get(subject)
                if series is None:
                    series = of_gauge[subject] = _Series(number)
                series.add(number, value)
        if len(self._times_ms) >= self._full_at:
            self._drop(at_ms)

    def at(self, name: str, at_ms: int, lookback_ms: int) -> Iterator[tuple[Subject, float]]:
        """Yields what an instant query sees: the sample at the last time up to ``at_ms``, if it is younger."""
        sampled_ms = self.sampled_ms(name, at_ms, lookback_ms)
        if sampled_ms is None:
            return
        number = self._dropped + bisect_left(self._times_ms, sampled_ms)
        for subject, series in self._series.get(name, {}).items():
            value = series.get(number)
            if value is not None:
                yield subject, value

    def sampled_ms(self, name: str, at_ms: int, lookback_ms: int) -> int | None:
        """Returns the time of the samples that an instant query sees; None where it sees none."""
        index = bisect_right(self._times_ms, at_ms) - 1
        if index < self._oldest(name) or at_ms - self._times_ms[index] >= lookback_ms:
            return None
        return self._times_ms[index]

    def between(self, name: str, begin_ms: int, end_ms: int) -> Iterator[tuple[Subject, Samples]]:
        """Yields the samples after ``begin_ms`` and up to ``end_ms``, of each series that has any."""
        times_ms = self._times_ms
        first, last = max(bisect_right(times_ms, begin_ms), self._oldest(name)), bisect_right(times_ms, end_ms)
        if first >= last:
            return
        for subject, series in self._series.get(name, {}).items():
            samples = series.between(times_ms, self._dropped, first, last)
            if samples.times_ms:
                yield subject, samples

    def _oldest(self, name: str) -> int:
        """Returns the index of the oldest time that counts: older ones are there until they are dropped together."""
        if not self._times_ms:
            return 0
        return bisect_right(self._times_ms, self._times_ms[-1] - self.kept_ms.get(name, 0))

    def _take_last(self) -> None:
        self._times_ms.pop()
        number = self._dropped + len(self._times_ms)
        for of_gauge in self._series.values():
            for series in of_gauge.values():
                series.drop_from(number)

    def _drop(self, at_ms: int) -> None:
        """Drops what is no longer needed."""
        longest_ms = max(self.kept_ms.values())
        for name, of_gauge in self._series.items():
            first = self._dropped + bisect_left(self._times_ms, at_ms - self.kept_ms[name])
            for subject in [subject for subject, series in of_gauge.items() if series.drop_before(first)]:
                del of_gauge[subject]
        oldest = bisect_left(self._times_ms, at_ms - longest_ms)
        del self._times_ms[:oldest]
        self._dropped += oldest
        self._full_at = int(len(self._times_ms) * _SLACK) + _FEWEST

    def _kept(self) -> Iterator[tuple[str, Subject, list[int], list[float]]]:
        if not self._times_ms:
            return
        last_ms = self._times_ms[-1]
        for name in sorted(self.kept_ms):
            for subject, samples in sorted(self.between(name, last_ms - self.kept_ms[name], last_ms)):
                yield name, subject, list(samples.times_ms), list(samples.values)


class _Series:
    """The values of one series, one for each time from that with the number ``first`` on, as long as it was shown."""

    __slots__ = ("first", "greatest", "has_gaps", "least", "values")

    def __init__(self, first: int) -> None:
        self.first = first
        self.values = array("d")
        self.has_gaps = False
        self.least, self.greatest = math.inf, 0.0  # the `Magnitudes` of its values since it began

    def copy(self) -> _Series:
        other = _Series(self.first)
        other.values, other.has_gaps = self.values[:], self.has_gaps
        other.least, other.greatest = self.least, self.greatest
        return other

    def add(self, number: int, value: float) -> None:
        missing = number - self.first - len(self.values)
        if missing:
            self.values.extend([ABSENT] * missing)
            self.has_gaps = True
        self.values.append(value)
        magnitude = abs(value)
        if magnitude > self.greatest or math.isnan(magnitude):
            self.greatest = magnitude  # NaN stays: nothing is greater
        if 0.0 < magnitude < self.least:
            self.least = magnitude

    def get(self, number: int) -> float | None:
        index = number - self.first
        if not 0 <= index < len(self.values):
            return None
        value = self.values[index]
        return None if self.has_gaps and is_absent(value) else value

    def between(self, times_ms: array[int], dropped: int, first: int, last: int) -> Samples:
        """Returns the samples from the index ``first`` of the times up to, not including, ``last``."""
        shift = self.first - dropped
        begin, end = max(first, shift), min(last, shift + len(self.values))
        if begin >= end:
            return Samples((), ())
        times, values = times_ms[begin:end], self.values[begin - shift : end - shift]
        if self.has_gaps:
            return without_gaps(times, values)
        return Samples(times, values, Magnitudes(self.least, self.greatest))

    def drop_from(self, number: int) -> None:
        del self.values[max(number - self.first, 0) :]

    def drop_before(self, number: int) -> bool:
        """Returns whether nothing is left."""
        count = min(max(number - self.first, 0), len(self.values))
        del self.values[:count]
        self.first += count
        return not self.values


def without_gaps(times_ms: Sequence[int], values: Sequence[float]) -> Samples:
    """Returns the samples that are none of a gap."""
    present = [(time_ms, value) for time_ms, value in zip(times_ms, values, strict=True) if not is_absent(value)]
    return Samples([time_ms for time_ms, _ in present], [value for _, value in present])


def _is_news(view: View, latest: View) -> bool:
    """Returns whether a view is that after a poll, or after a read that changed its bucket."""
    result = view.poll.result
    if isinstance(result, Failure) or result.is_whole:
        return True
    read = [observation.bucket.policy for observation in result.buckets]
    return any(_observed(view, policy) != _observed(latest, policy) for policy in read)


def _observed(view: View, policy: PolicyName) -> BucketObservation | None:
    visible = view.buckets.get(policy)
    return None if visible is None else visible.observation


def is_absent(value: float) -> bool:
    """Returns whether a value is the mark of a gap."""
    return math.isnan(value) and struct.pack("<d", value) == _ABSENT_BYTES

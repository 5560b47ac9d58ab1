"""Series that rules wrote: ``ALERTS`` and ``ALERTS_FOR_STATE``, and what they record, as of each evaluation."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from struct import pack
from typing import Final, NamedTuple, TypeAlias

from exporter.buckets.gauge_history import ABSENT, Samples, is_absent, without_gaps

Pairs: TypeAlias = "tuple[tuple[str, str], ...]"
"""Labels, sorted by name, none of them empty, the metric name not among them."""

RuleKey: TypeAlias = "tuple[str, ...]"
"""What tells a rule from others."""

SAMPLE_BYTES: Final = 16
"""A time and a value."""

SLACK: Final = 64
"""How many evaluations go by until what is older than needed is dropped."""


class WrittenSample(NamedTuple):
    """A sample of a series, by its metric name."""

    name: str
    pairs: Pairs
    value: float


class _Live(NamedTuple):
    """What a rule wrote last, and how much older than the evaluation it was."""

    series: frozenset[tuple[str, Pairs]]
    delay_ms: int


class WrittenSeries:
    """Samples of the series that the rules wrote about one participant.

    ``kept_ms`` is for how long those of which metrics are kept, in milliseconds; others are not. As in Prometheus a
    series that a rule does not write again is marked as ended, at that evaluation.
    """

    __slots__ = ("_at_ms", "_evaluations", "_live", "_series", "kept_ms")

    def __init__(self, kept_ms: Mapping[str, int]) -> None:
        self.kept_ms = kept_ms
        self._series: dict[str, dict[Pairs, _Series]] = {name: {} for name in kept_ms}
        self._live: dict[RuleKey, _Live] = {}
        self._at_ms = 0
        self._evaluations = 0

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same of what is to be kept."""
        if not isinstance(other, WrittenSeries):
            return NotImplemented
        return (self.kept_ms, self._live) == (other.kept_ms, other._live) and list(self._kept()) == list(other._kept())

    __hash__ = None  # type: ignore[assignment]

    def copy(self) -> WrittenSeries:
        """Returns series of their own, to which other samples can be added."""
        other = WrittenSeries(self.kept_ms)
        other._live, other._at_ms, other._evaluations = dict(self._live), self._at_ms, self._evaluations
        other._series = {
            name: {pairs: series.copy() for pairs, series in of_name.items()} for name, of_name in self._series.items()
        }
        return other

    def keep(self, kept_ms: Mapping[str, int]) -> None:
        """Keeps no more than that from now on."""
        self.kept_ms = kept_ms
        self._series = {name: self._series.get(name, {}) for name in kept_ms}
        self._live = {
            rule: live._replace(series=frozenset(one for one in live.series if one[0] in kept_ms))
            for rule, live in self._live.items()
        }

    def clear(self) -> None:
        self._series = {name: {} for name in self.kept_ms}
        self._live = {}

    def write(self, rule: RuleKey, at_ms: int, samples: Iterable[WrittenSample], delay_ms: int = 0) -> None:
        """Takes all that a rule has written at an evaluation; its samples are ``delay_ms`` older than that."""
        written: set[tuple[str, Pairs]] = set()
        for name, pairs, value in samples:
            series = self._series_of(name, pairs)
            if series is not None:
                series.add(at_ms - delay_ms, value)
                written.add((name, pairs))
        self._write(rule, written, at_ms, delay_ms)

    def record(
        self, rule: RuleKey, at_ms: int, samples: Iterable[WrittenSample], delay_ms: int = 0
    ) -> list[WrittenSample]:
        """Takes all that a rule has recorded at an evaluation, and returns the samples that cannot be written.

        Their series have another value of that time already, or have ended then, or have a later one. Prometheus leaves
        such samples out, too.
        """
        written: set[tuple[str, Pairs]] = set()
        refused: list[WrittenSample] = []
        for sample in samples:
            series = self._series_of(sample.name, sample.pairs)
            if series is None:
                continue
            if series.takes(at_ms - delay_ms, sample.value, self._evaluations):
                series.add(at_ms - delay_ms, sample.value)
                series.evaluation = self._evaluations
                written.add((sample.name, sample.pairs))
            else:
                refused.append(sample)
        self._write(rule, written, at_ms, delay_ms)
        return refused

    def add_input(self, name: str, pairs: Pairs, samples: Samples) -> None:
        """Takes samples that no rule has written; one that is absent ends the series."""
        series = self._series_of(name, pairs)
        if series is not None and samples.times_ms:
            series.evaluation = self._evaluations
            for at_ms, value in zip(samples.times_ms, samples.values, strict=True):
                series.add(at_ms, value)

    def _series_of(self, name: str, pairs: Pairs) -> _Series | None:
        """Returns a series, from now on there; None where none of its name is kept."""
        of_name = self._series.get(name)
        if of_name is None:
            return None
        series = of_name.get(pairs)
        if series is None:
            series = of_name[pairs] = _Series()
        return series

    def _write(self, rule: RuleKey, written: set[tuple[str, Pairs]], at_ms: int, delay_ms: int) -> None:
        live = self._live.get(rule)
        if live is not None:
            self._end(live.series - written, at_ms - delay_ms)
        self._live[rule] = _Live(frozenset(written), delay_ms)
        self._at_ms = max(self._at_ms, at_ms)

    def end_evaluation(self, rules: Collection[RuleKey], at_ms: int) -> None:
        """Ends the series of rules that are no longer there, and drops what is no longer needed."""
        for rule in [rule for rule in self._live if rule not in rules]:
            live = self._live.pop(rule)
            self._end(live.series, at_ms - live.delay_ms)
        self._evaluations += 1
        if self._evaluations % SLACK == 0:
            for name, of_name in self._series.items():
                oldest_ms = self._at_ms - self.kept_ms[name]
                for pairs in [pairs for pairs, series in of_name.items() if series.drop_before(oldest_ms)]:
                    del of_name[pairs]

    def at(self, name: str, at_ms: int, lookback_ms: int) -> Iterator[tuple[Pairs, int, float]]:
        """Yields what an instant query sees, with the time of the sample: the last one, if it is younger."""
        after_ms = max(at_ms - lookback_ms, self._forgotten_ms(name))
        for pairs, series in self._series.get(name, {}).items():
            sample = series.last(at_ms)
            if sample is not None and sample[0] > after_ms:
                yield pairs, *sample

    def between(self, name: str, begin_ms: int, end_ms: int) -> Iterator[tuple[Pairs, Samples]]:
        """Yields the samples after ``begin_ms`` and up to ``end_ms``, of each series that has any."""
        begin_ms = max(begin_ms, self._forgotten_ms(name))
        for pairs, series in self._series.get(name, {}).items():
            samples = series.between(begin_ms, end_ms)
            if samples.times_ms:
                yield pairs, samples

    def _forgotten_ms(self, name: str) -> int:
        """Returns up to when samples do not count: they are there until they are dropped together."""
        return self._at_ms - self.kept_ms.get(name, 0)

    def _end(self, ended: Iterable[tuple[str, Pairs]], at_ms: int) -> None:
        for name, pairs in ended:
            series = self._series[name].get(pairs)
            if series is not None:  # else nothing of it is needed any more
                series.add(at_ms, ABSENT)
                series.evaluation = self._evaluations

    def _kept(self) -> Iterator[tuple[str, Pairs, list[int], bytes]]:
        for name in sorted(self.kept_ms):
            for pairs, samples in sorted(self.between(name, self._at_ms - self.kept_ms[name], self._at_ms)):
                yield name, pairs, list(samples.times_ms), array("d", samples.values).tobytes()


def is_same(value: float, other: float) -> bool:
    """Returns whether two values are the same, bit by bit."""
    return pack("<d", value) == pack("<d", other)


class _Series:
    """The samples of one series; one that is absent marks its end. ``evaluation`` is the one that recorded it last."""

    __slots__ = ("evaluation", "has_ended", "times_ms", "values")

    def __init__(self) -> None:
        self.evaluation = 0
        self.times_ms = array("q")
        self.values = array("d")
        self.has_ended = False

    def copy(self) -> _Series:
        other = _Series()
        other.times_ms, other.values, other.has_ended = self.times_ms[:], self.values[:], self.has_ended
        other.evaluation = self.evaluation
        return other

    def add(self, at_ms: int, value: float) -> None:
        """Of the same time the last is kept, but for an end; what is earlier is left out."""
        if not self.times_ms or at_ms > self.times_ms[-1]:
            self.has_ended = self.has_ended or is_absent(value)
            self.times_ms.append(at_ms)
            self.values.append(value)
        elif at_ms == self.times_ms[-1] and not is_absent(value):
            self.values[-1] = value

    def takes(self, at_ms: int, value: float, evaluation: int) -> bool:
        """Returns whether a sample can be added, is there, or takes the place of one of an earlier evaluation."""
        if not self.times_ms or at_ms > self.times_ms[-1]:
            return True
        return at_ms == self.times_ms[-1] and (evaluation != self.evaluation or is_same(value, self.values[-1]))

    def last(self, at_ms: int) -> tuple[int, float] | None:
        """Returns the last sample up to a time; None where the series has ended or not begun."""
        index = bisect_right(self.times_ms, at_ms) - 1
        if index < 0 or is_absent(value := self.values[index]):
            return None
        return self.times_ms[index], value

    def between(self, begin_ms: int, end_ms: int) -> Samples:
        within = slice(bisect_right(self.times_ms, begin_ms), bisect_right(self.times_ms, end_ms))
        times_ms, values = self.times_ms[within], self.values[within]
        return without_gaps(times_ms, values) if self.has_ended else Samples(times_ms, values)

    def drop_before(self, oldest_ms: int) -> bool:
        """Returns whether nothing is left."""
        count = bisect_left(self.times_ms, oldest_ms)
        del self.times_ms[:count], self.values[:count]
        return not self.times_ms

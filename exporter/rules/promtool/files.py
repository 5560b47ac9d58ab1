"""Rule unit-test files in promtool's format: read and checked, their input series expanded."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import Any, Final

import msgspec
import yaml

from exporter import files
from exporter.buckets.gauge_history import Samples
from exporter.durations import Duration, parse_duration
from exporter.errors import DictRateLimitError, YamlInvalid
from exporter.rules.files.documents import MOST_NODES
from exporter.rules.promql.parser import parse
from exporter.rules.promql.series import METRIC_NAME, Labels
from exporter.rules.promql.sources import LOOKBACK_MS
from exporter.rules.promql.tree import Selector
from exporter.yaml_text import Texts, compose, construct
from exporter.yaml_text.nodes import Mapping, all_repeated, is_merge, line_of, mappings

_NUMBER: Final = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_ITEM: Final = re.compile(
    rf"(?P<blank>_)(?:x(?P<blanks>[0-9]+))?"
    rf"|(?P<stale>stale)"
    rf"|(?P<special>[+-]?(?:[iI][nN][fF]|[nN][aA][nN]))"
    rf"|(?P<first>[+-]?{_NUMBER})(?:(?P<step>[+-]{_NUMBER})?x(?P<times>[0-9]+))?"
)

_LONGEST: Final = 1_000_000
"""More samples than any test needs: a typo must not exhaust memory."""


class TestFileInvalid(DictRateLimitError):
    """A test file cannot be used."""

    __test__ = False


class Milliseconds(int):
    """A duration, in Prometheus' notation in the file."""


class Number(float):
    """A value, in YAML's notation in the file."""


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

    def at(self, time_ms: int, until_ms: int) -> float | None:
        """Returns what a query at that time sees, if anything, where samples up to ``until_ms`` are known."""
        sample = self.sample(time_ms, until_ms)
        return sample[1] if sample is not None else None

    def sample(self, time_ms: int, until_ms: int) -> tuple[int, float] | None:
        """Returns the same with the time of the sample."""
        index = bisect_right(self.times_ms, min(time_ms, until_ms)) - 1
        if index < 0 or time_ms - self.times_ms[index] >= LOOKBACK_MS:
            return None
        value = self.values[index]
        return None if isinstance(value, _Stale) else (self.times_ms[index], value)

    def between(self, begin_ms: int, end_ms: int) -> Samples:
        """Returns the samples after ``begin_ms`` and up to ``end_ms``."""
        within = slice(bisect_right(self.times_ms, begin_ms), bisect_right(self.times_ms, end_ms))
        samples = zip(self.times_ms[within], self.values[within], strict=True)
        present = [(time_ms, value) for time_ms, value in samples if not isinstance(value, _Stale)]
        return Samples([time_ms for time_ms, _ in present], [value for _, value in present])


class _Section(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class ExpectedAlert(_Section):
    """A firing alert: all its labels but ``alertname``, and all its annotations."""

    labels: dict[str, str] = msgspec.field(name="exp_labels", default_factory=dict)
    annotations: dict[str, str] = msgspec.field(name="exp_annotations", default_factory=dict)


class AlertTest(_Section):
    at_ms: Milliseconds = msgspec.field(name="eval_time", default=Milliseconds())
    alertname: str = ""
    expected: list[ExpectedAlert] = msgspec.field(name="exp_alerts", default_factory=list)

    def __post_init__(self) -> None:
        if not self.alertname:
            at = Duration(self.at_ms / 1000)
            raise ValueError(f"an item under alert_rule_test misses required attribute alertname at eval_time {at}")


class ExpectedSample(_Section):
    """``labels`` are not parsed yet: what is wrong with them is a failure of the test that they belong to."""

    labels: str = ""
    value: Number = Number()


class ExpressionTest(_Section):
    at_ms: Milliseconds = msgspec.field(name="eval_time", default=Milliseconds())
    expr: str = ""
    expected: list[ExpectedSample] = msgspec.field(name="exp_samples", default_factory=list)


class _Series(_Section):
    series: str = ""
    values: str = ""


class Scenario(_Section):
    """One entry of ``tests``."""

    name: str = ""
    interval_ms: Milliseconds = msgspec.field(name="interval", default=Milliseconds())
    input_series: list[_Series] = []
    alert_tests: list[AlertTest] = msgspec.field(name="alert_rule_test", default_factory=list)
    expression_tests: list[ExpressionTest] = msgspec.field(name="promql_expr_test", default_factory=list)
    external_labels: dict[str, str] = {}
    external_url: str = ""

    @property
    def ends_at_ms(self) -> int:
        times_ms = [test.at_ms for test in self.alert_tests] + [test.at_ms for test in self.expression_tests]
        return max(times_ms, default=0)

    def series(self) -> list[InputSeries]:
        """Returns the input series, expanded. Raises TestFileInvalid."""
        if self.input_series and not self.interval_ms:
            raise TestFileInvalid("a test with input_series needs an interval")
        try:
            return [input_series(entry.series, entry.values, self.interval_ms) for entry in self.input_series]
        except ValueError as error:
            raise TestFileInvalid(str(error)) from None


class TestFile(_Section):
    """``rule_files`` are patterns, relative to the test file; times in milliseconds since 1970."""

    __test__ = False

    rule_files: list[str] = []
    evaluation_interval_ms: Milliseconds = msgspec.field(name="evaluation_interval", default=Milliseconds())
    group_eval_order: list[str] = []
    scenarios: list[Scenario] = msgspec.field(name="tests", default_factory=list)

    def __post_init__(self) -> None:
        self.evaluation_interval_ms = self.evaluation_interval_ms or Milliseconds(60_000)


def read(file: str) -> TestFile:
    """Raises TestFileInvalid, a sentence."""
    try:
        root = compose(files.read(file).decode(), max_nodes=MOST_NODES, loader=Texts)
        _check_keys(root)
        return msgspec.convert(_without_nulls(construct(root, Texts)) or {}, TestFile, dec_hook=_decode)
    except OSError as error:
        raise TestFileInvalid(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TestFileInvalid("is not UTF-8") from None
    except (YamlInvalid, msgspec.ValidationError) as error:
        raise TestFileInvalid(str(error)) from None


def _decode(kind: type, text: str) -> Milliseconds | Number:
    if kind is Milliseconds:
        return Milliseconds(round(parse_duration(text) * 1000))
    try:
        return Number(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        raise ValueError(f"`{text}` is not a number") from None


def _without_nulls(value: Any) -> Any:
    """Returns the document as Go's decoder sees it: a key without a value is absent, a label without one empty."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: {label: text or "" for label, text in content.items()}
        if name in _MAPS and isinstance(content, dict)
        else _without_nulls(content)
        for name, content in value.items()
        if content is not None
    }


_MAPS: Final = frozenset({"exp_labels", "exp_annotations", "external_labels"})
"""Where promtool takes no key twice, not even to override a merged one."""


def _check_keys(root: yaml.Node | None) -> None:
    """Refuses keys that are given twice, and merged ones where promtool reads something else than is meant.

    Its YAML for test files merges where `<<` stands, over the keys above it.
    """
    for repeated in all_repeated(root):
        if repeated.name != "<<":
            raise YamlInvalid(str(repeated), repeated.line)
    maps: set[int] = set()
    for mapping in mappings(root):
        maps |= {id(value) for key, value in mapping.written if key.value in _MAPS}
        if mapping.merges:
            _check_merged(mapping, is_map=id(mapping) in maps)


def _check_merged(mapping: Mapping, *, is_map: bool) -> None:
    above: set[str] = set()
    for key, value in mapping.written:
        if not is_merge(key):
            if is_map and key.value in above:
                raise YamlInvalid(f"{key.value} is merged too, which promtool refuses", line_of(key))
            above.add(key.value)
            continue
        sources = [value] if isinstance(value, Mapping) else value.value
        merged: set[str] = set()
        for source in sources:
            names = {name.value for name, _ in source.value}
            for name in sorted(names & (above | merged if is_map else above)):
                raise YamlInvalid(f"<< merges {name}, which is given above it: write << first", line_of(key))
            merged |= names
        above |= merged


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

"""Rule unit-test files in promtool's format: read and checked, their input series expanded."""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import yaml

from exporter import files
from exporter.durations import Duration, parse_duration
from exporter.errors import DictRateLimitError, YamlInvalid
from exporter.rules.files.documents import MOST_NODES
from exporter.rules.promql.functions import EPOCH
from exporter.rules.promtool.input_series import InputSeries, input_series
from exporter.yaml_text import Texts, compose, construct
from exporter.yaml_text.nodes import Mapping, all_repeated, is_merge, line_of, mappings


class TestFileInvalid(DictRateLimitError):
    """A test file cannot be used."""

    __test__ = False


class Milliseconds(int):
    """A duration, in Prometheus' notation in the file."""


class Number(float):
    """A value, in YAML's notation in the file."""


class StartTime(int):
    """A time in milliseconds since 1970; in the file seconds, or RFC 3339."""


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
    """One entry of ``tests``. Times are milliseconds since its start."""

    name: str = ""
    interval_ms: Milliseconds = msgspec.field(name="interval", default=Milliseconds())
    input_series: list[_Series] = []
    alert_tests: list[AlertTest] = msgspec.field(name="alert_rule_test", default_factory=list)
    expression_tests: list[ExpressionTest] = msgspec.field(name="promql_expr_test", default_factory=list)
    external_labels: dict[str, str] = {}
    external_url: str = ""
    start_ms: StartTime = msgspec.field(name="start_timestamp", default=StartTime())

    @property
    def ends_at_ms(self) -> int:
        times_ms = [test.at_ms for test in self.alert_tests] + [test.at_ms for test in self.expression_tests]
        return max(times_ms, default=0)

    def series(self, evaluation_interval_ms: int) -> list[InputSeries]:
        """Returns the input series, expanded; without an interval of their own, by that of evaluations.

        Raises TestFileInvalid.
        """
        interval_ms = self.interval_ms or evaluation_interval_ms
        try:
            return [input_series(one.series, one.values, interval_ms, self.start_ms) for one in self.input_series]
        except ValueError as error:
            raise TestFileInvalid(str(error)) from None


class TestFile(_Section):
    """``rule_files`` are patterns, relative to the test file.

    ``fuzzy_compare``: values may differ by the least that there is between two floats.
    """

    __test__ = False

    rule_files: list[str] = []
    evaluation_interval_ms: Milliseconds = msgspec.field(name="evaluation_interval", default=Milliseconds())
    group_eval_order: list[str] = []
    fuzzy_compare: str = "false"
    scenarios: list[Scenario] = msgspec.field(name="tests", default_factory=list)

    def __post_init__(self) -> None:
        self.evaluation_interval_ms = self.evaluation_interval_ms or Milliseconds(60_000)
        if self.fuzzy_compare not in {"true", "false"}:
            raise ValueError("fuzzy_compare: write true or false")
        repeated = [name for name, count in Counter(self.group_eval_order).items() if count > 1]
        if repeated:
            raise ValueError(f"group name repeated in evaluation order: {repeated[0]}")


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


def _decode(kind: type, text: str) -> Milliseconds | Number | StartTime:
    if kind is Milliseconds:
        return Milliseconds(round(parse_duration(text) * 1000))
    if kind is StartTime:
        return _start_time(text)
    try:
        return Number(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        raise ValueError(f"`{text}` is not a number") from None


def _start_time(text: str) -> StartTime:
    try:
        return StartTime(math.floor(float(text) * 1000))
    except (ValueError, OverflowError):
        pass
    try:
        return StartTime((datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1))
    except (ValueError, TypeError):  # or it has no time zone
        raise ValueError(f"`{text}` is not a time: write seconds since 1970, or 2026-03-01T12:00:00Z") from None


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

"""Rule unit-test files in promtool's format, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from exporter import files
from exporter.durations import parse_duration
from exporter.rules.files.documents import MOST_NODES
from exporter.rules.promtool.input_series import InputSeries, input_series
from exporter.yaml_text import (
    Mapping,
    Texts,
    YamlInvalid,
    all_repeated,
    compose,
    construct,
    is_merge,
    line_of,
    mappings,
)

if TYPE_CHECKING:
    from collections import abc

    import yaml


MINUTE_MS: Final = 60_000


class TestFileInvalid(Exception):
    """A test file cannot be used."""

    __test__ = False


@dataclass(frozen=True, slots=True)
class ExpectedAlert:
    """A firing alert: all its labels but ``alertname``, and all its annotations."""

    labels: abc.Mapping[str, str]
    annotations: abc.Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AlertTest:
    at_ms: int
    alertname: str
    expected: tuple[ExpectedAlert, ...]


@dataclass(frozen=True, slots=True)
class ExpectedSample:
    """``labels`` as written: a text that is no series is told with the test that it belongs to."""

    labels: str
    value: float


@dataclass(frozen=True, slots=True)
class ExpressionTest:
    at_ms: int
    expr: str
    expected: tuple[ExpectedSample, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One entry of ``tests``."""

    name: str
    series: tuple[InputSeries, ...]
    alert_tests: tuple[AlertTest, ...]
    expression_tests: tuple[ExpressionTest, ...]

    @property
    def ends_at_ms(self) -> int:
        times_ms = [test.at_ms for test in self.alert_tests] + [test.at_ms for test in self.expression_tests]
        return max(times_ms, default=0)


@dataclass(frozen=True, slots=True)
class TestFile:
    """``rule_files`` are patterns, made relative to the test file; times in milliseconds since 1970."""

    __test__ = False

    file: str
    rule_files: tuple[str, ...]
    evaluation_interval_ms: int
    group_eval_order: tuple[str, ...]
    scenarios: tuple[Scenario, ...]


class _Section(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class _Alert(_Section):
    exp_labels: dict[str, str | None] | None = None
    exp_annotations: dict[str, str | None] | None = None


class _AlertTest(_Section):
    eval_time: str = "0"
    alertname: str = ""
    exp_alerts: list[_Alert] | None = None


class _Sample(_Section):
    labels: str = ""
    value: str = "0"


class _ExpressionTest(_Section):
    expr: str = ""
    eval_time: str = "0"
    exp_samples: list[_Sample] | None = None


class _Series(_Section):
    series: str = ""
    values: str = ""


class _Scenario(_Section):
    interval: str = "0"
    name: str = ""
    input_series: list[_Series] | None = None
    alert_rule_test: list[_AlertTest] | None = None
    promql_expr_test: list[_ExpressionTest] | None = None
    external_labels: dict[str, str | None] | None = None
    external_url: str = ""


class _File(_Section):
    rule_files: list[str] | None = None
    evaluation_interval: str = "0"
    group_eval_order: list[str] | None = None
    tests: list[_Scenario] | None = None


def read(file: str) -> TestFile:
    """Raises TestFileInvalid, a sentence."""
    try:
        root = compose(files.read(file).decode(), most_nodes=MOST_NODES, loader=Texts)
        _check_keys(root)
        given = msgspec.convert(construct(root, Texts) or {}, _File)
    except OSError as error:
        raise TestFileInvalid(f"cannot be read: {error.strerror}") from None
    except YamlInvalid as error:
        raise TestFileInvalid(str(error)) from None
    except UnicodeDecodeError:
        raise TestFileInvalid("is not UTF-8") from None
    except msgspec.ValidationError as error:
        raise TestFileInvalid(str(error)) from None
    folder = Path(file).parent
    interval_ms = _milliseconds(given.evaluation_interval, "evaluation_interval") or MINUTE_MS
    return TestFile(
        file,
        tuple(str(folder / pattern) for pattern in given.rule_files or ()),
        interval_ms,
        tuple(given.group_eval_order or ()),
        tuple(_scenario(scenario) for scenario in given.tests or ()),
    )


_MAPS: Final = frozenset({"exp_labels", "exp_annotations", "external_labels"})
"""Where promtool takes no key twice, not even to override a merged one."""


def _check_keys(root: yaml.Node | None) -> None:
    """Refuses keys that are there twice, and merged ones where promtool reads something else than is meant.

    Its YAML for test files merges where `<<` stands, over what is above.
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
    given: set[str] = set()
    for key, value in mapping.written:
        if not is_merge(key):
            if is_map and key.value in given:
                raise YamlInvalid(f"{key.value} is merged too, which promtool refuses", line_of(key))
            given.add(key.value)
            continue
        sources = [value] if isinstance(value, Mapping) else value.value
        merged: set[str] = set()
        for source in sources:
            names = {name.value for name, _ in source.value}
            for name in sorted(names & (given | merged if is_map else given)):
                raise YamlInvalid(f"<< merges {name}, which is given above it: write << first", line_of(key))
            merged |= names
        given |= merged


def _scenario(given: _Scenario) -> Scenario:
    interval_ms = _milliseconds(given.interval, "interval")
    series: list[InputSeries] = []
    for entry in given.input_series or ():
        try:
            series.append(input_series(entry.series, entry.values, interval_ms))
        except ValueError as error:
            raise TestFileInvalid(str(error)) from None
    if series and not interval_ms:
        raise TestFileInvalid("a test with input_series needs an interval")
    for test in given.alert_rule_test or ():
        if not test.alertname:
            raise TestFileInvalid(
                f"an item under alert_rule_test misses required attribute alertname at eval_time {test.eval_time}"
            )
    return Scenario(
        given.name,
        tuple(series),
        tuple(
            AlertTest(
                _milliseconds(test.eval_time, "eval_time"),
                test.alertname,
                tuple(ExpectedAlert(_texts(a.exp_labels), _texts(a.exp_annotations)) for a in test.exp_alerts or ()),
            )
            for test in given.alert_rule_test or ()
        ),
        tuple(
            ExpressionTest(
                _milliseconds(test.eval_time, "eval_time"),
                test.expr,
                tuple(ExpectedSample(sample.labels, _number(sample.value)) for sample in test.exp_samples or ()),
            )
            for test in given.promql_expr_test or ()
        ),
    )


def _milliseconds(duration: str, name: str) -> int:
    try:
        return round(parse_duration(duration) * 1000)
    except ValueError as error:
        raise TestFileInvalid(f"{name}: {error}") from None


def _number(text: str) -> float:
    try:
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        raise TestFileInvalid(f"value: `{text}` is not a number") from None


def _texts(given: abc.Mapping[str, str | None] | None) -> abc.Mapping[str, str]:
    return {name: value or "" for name, value in (given or {}).items()}

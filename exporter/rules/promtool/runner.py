"""Rule unit tests run on this program's own engine, with promtool's verdict and output."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import unified_diff
from typing import TYPE_CHECKING

from exporter.alerts.alert import AlertState
from exporter.durations import Duration
from exporter.errors import RuleEvaluationFailed, RuleFileInvalid
from exporter.rules.files.loading import load
from exporter.rules.promql.expression import ExpressionRefused
from exporter.rules.promql.series import METRIC_NAME
from exporter.rules.promql.sources import ALERT_SERIES, ALERTS
from exporter.rules.promtool.files import TestFileInvalid, read
from exporter.rules.promtool.input_series import LOOKBACK_MS, metric
from exporter.rules.promtool.playback import play
from exporter.rules.templates.go_format import exponential, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from exporter.rules.files.loading import RuleSet
    from exporter.rules.promql.series import Sample
    from exporter.rules.promtool.files import AlertTest, ExpressionTest, Scenario, TestFile
    from exporter.rules.promtool.playback import Playback


@dataclass(frozen=True, slots=True)
class TestFailure:
    """What a test found. ``expected`` and ``got`` are empty where it is not about a difference."""

    __test__ = False

    headline: str
    expected: str = ""
    got: str = ""
    separator: str = ""

    def told(self, *, diff: bool = False) -> str:
        """Returns it as promtool prints it, or with the two sides as one diff."""
        if not self.expected and not self.got:
            return self.headline
        if not diff:
            return f"{self.headline}\n        exp:{self.expected}{self.separator}\n        got:{self.got}\n"
        lines = unified_diff(self.expected.splitlines(), self.got.splitlines(), "exp", "got", lineterm="", n=100)
        return "\n".join([self.headline, *(f"        {line}" for line in lines), ""])


@dataclass(frozen=True, slots=True)
class TestResult:
    """How a test file went: no failures is success."""

    __test__ = False

    file: str
    failures: tuple[TestFailure, ...]

    @property
    def passed(self) -> bool:
        return not self.failures

    def told(self, *, diff: bool = False) -> str:
        """Returns promtool's lines for the file."""
        if self.passed:
            return f"Unit Testing:  {self.file}\n  SUCCESS\n\n"
        told = "\n".join(failure.told(diff=diff) for failure in self.failures)
        return f"Unit Testing:  {self.file}\n  FAILED:\n{told}\n\n"


def run_tests(files: Sequence[str]) -> list[TestResult]:
    """Runs the test files, each on the rule files that it names."""
    return [TestResult(file, tuple(_run_file(file))) for file in files]


def _run_file(file: str) -> Iterator[TestFailure]:
    try:
        test_file = read(file)
        rules = load(test_file.rule_files)
        _check(test_file, rules)
    except (TestFileInvalid, RuleFileInvalid) as error:
        yield TestFailure(str(error))
        return
    for scenario in test_file.scenarios:
        playback = play(
            rules.rules,
            scenario.series,
            until_ms=scenario.ends_at_ms,
            interval_ms=test_file.evaluation_interval_ms,
        )
        yield from _verdict(scenario, playback)


def _check(test_file: TestFile, rules: RuleSet) -> None:
    known = {group.name for group in rules.groups}
    for name in test_file.group_eval_order:
        if name not in known:
            raise TestFileInvalid(f"group_eval_order: no rule file has a group {name}")
    given = sorted({series.name for scenario in test_file.scenarios for series in scenario.series} & ALERT_SERIES)
    if given:
        raise TestFileInvalid(f"input_series: {given[0]} come from the rules, and cannot be given")
    if test_file.evaluation_interval_ms > LOOKBACK_MS and any(ALERTS in rule.expr for rule in rules.rules):
        raise TestFileInvalid(
            "evaluation_interval is above 5m: at that pace Prometheus forgets ALERTS between two evaluations"
        )


def _verdict(scenario: Scenario, playback: Playback) -> Iterator[TestFailure]:
    failed = playback.failed
    by_time = sorted(scenario.alert_tests, key=lambda test: test.at_ms)
    for test in by_time:
        if failed is None or test.at_ms < failed.at_ms:
            yield from _alert_verdict(scenario, test, playback)
    if failed is not None:
        for failure in failed.failures:
            yield TestFailure(f"    rule: {failure.name}, time: {_time(failed.at_ms)}, err: {failure.message}")
        return
    for expression_test in scenario.expression_tests:
        yield from _expression_verdict(expression_test, playback)


def _alert_verdict(scenario: Scenario, test: AlertTest, playback: Playback) -> Iterator[TestFailure]:
    got = sorted(
        (_labels(alert.labels), _labels(alert.annotations))
        for alert in playback.alerts(test.at_ms)
        if alert.name == test.alertname and alert.state is AlertState.FIRING
    )
    expected = sorted(
        (_labels({**alert.labels, "alertname": test.alertname}), _labels(alert.annotations)) for alert in test.expected
    )
    if got != expected:
        name = f"    name: {scenario.name},\n" if scenario.name else ""
        yield TestFailure(
            f"{name}    alertname: {test.alertname}, time: {_time(test.at_ms)}, ",
            _alerts_told(expected),
            _alerts_told(got),
            ", ",
        )


def _expression_verdict(test: ExpressionTest, playback: Playback) -> Iterator[TestFailure]:
    place = f"    expr: {quoted(test.expr)}, time: {_time(test.at_ms)},"
    try:
        got = sorted(_sample_told(sample) for sample in playback.query(test.expr, test.at_ms))
    except (ExpressionRefused, RuleEvaluationFailed) as error:
        yield TestFailure(f"{place} err: {error}")
        return
    expected: list[tuple[str, str]] = []
    for sample in test.expected:
        try:
            name, labels = metric(sample.labels)
        except ValueError as error:
            yield TestFailure(f"{place} err: labels {quoted(sample.labels)}: {error}")
            return
        expected.append(_sample_told((name, labels, sample.value)))
    if got != sorted(expected) or any(value == "NaN" for _, value in got):  # NaN is not NaN, says promtool
        yield TestFailure(place, _samples_told(sorted(expected)), _samples_told(got))


def _sample_told(sample: Sample) -> tuple[str, str]:
    name, labels, value = sample
    return _labels({**({METRIC_NAME: name} if name else {}), **dict(labels.pairs)}), exponential(value)


def _samples_told(samples: Sequence[tuple[str, str]]) -> str:
    return " " + (", ".join(f"{labels} {value}" for labels, value in samples) or "nil")


def _alerts_told(alerts: Sequence[tuple[str, str]]) -> str:
    if not alerts:
        return "[]"
    inside = ",\n".join(
        f"{place}:\n  Labels:{labels}\n  Annotations:{annotations}"
        for place, (labels, annotations) in enumerate(alerts)
    )
    return "[\n" + "\n".join(f"            {line}" for line in inside.splitlines()) + "\n            ]"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name}={quoted(labels[name])}" for name in sorted(labels)) + "}"


def _time(at_ms: int) -> str:
    return str(Duration(at_ms / 1000))

"""Rule unit tests run on this program's own engine, with promtool's verdict and output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import Path

from exporter.alerts.alert import AlertState
from exporter.durations import Duration
from exporter.errors import RuleEvaluationFailed, RuleFileInvalid
from exporter.rules.files.loading import RuleSet, load
from exporter.rules.golang import exponential, quote
from exporter.rules.promql.refusal import ExpressionRefused
from exporter.rules.promql.series import METRIC_NAME, Sample, label_text
from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promtool.files import (
    AlertTest,
    ExpressionTest,
    Scenario,
    TestFile,
    TestFileInvalid,
    parse_series,
    read,
)
from exporter.rules.promtool.playback import Playback, play
from exporter.rules.rule import CompiledRule
from exporter.rules.templates.template import External


@dataclass(frozen=True, slots=True)
class TestFailure:
    """A failed test. ``expected`` and ``got`` are empty where it is not about a difference."""

    __test__ = False

    headline: str
    expected: str = ""
    got: str = ""
    separator: str = ""

    def render(self, *, diff: bool = False) -> str:
        """Returns promtool's lines, or a diff of the two sides."""
        if not self.expected and not self.got:
            return f"{self.headline}\n"
        if not diff:
            return f"{self.headline}\n        exp:{self.expected}{self.separator}\n        got:{self.got}\n"
        lines = unified_diff(self.expected.splitlines(), self.got.splitlines(), "exp", "got", lineterm="", n=100)
        return "\n".join([self.headline, *(f"        {line}" for line in lines), ""])


@dataclass(frozen=True, slots=True)
class TestResult:
    """The result of a test file: no failures is success."""

    __test__ = False

    file: str
    failures: tuple[TestFailure, ...]

    @property
    def passed(self) -> bool:
        return not self.failures

    def render(self, *, diff: bool = False) -> str:
        """Returns promtool's lines for the file."""
        if self.passed:
            return f"Processing test file: {self.file}\n  SUCCESS\n\n"
        failures = "\n".join(failure.render(diff=diff) for failure in self.failures)
        return f"Processing test file: {self.file}\n  FAILED:\n{failures}\n\n"


def run_tests(files: Sequence[str]) -> list[TestResult]:
    """Runs the test files, each on the rule files that it names."""
    return [TestResult(file, tuple(_run_file(file))) for file in files]


def _run_file(file: str) -> Iterator[TestFailure]:
    try:
        test_file = read(file)
        rules = load([str(Path(file).parent / pattern) for pattern in test_file.rule_files])
        series = [scenario.series() for scenario in test_file.scenarios]
        _check(test_file, rules, {one.name for of_scenario in series for one in of_scenario})
    except (TestFileInvalid, RuleFileInvalid) as error:
        yield TestFailure(str(error))
        return
    for scenario, of_scenario in zip(test_file.scenarios, series, strict=True):
        external = External(scenario.external_labels, scenario.external_url)
        playback = play(
            [replace(rule, external=external) for rule in _in_order(rules, test_file.group_eval_order)],
            of_scenario,
            until_ms=scenario.ends_at_ms,
            interval_ms=test_file.evaluation_interval_ms,
        )
        yield from _failures(scenario, playback)


def _in_order(rules: RuleSet, group_names: Sequence[str]) -> Iterator[CompiledRule]:
    """Yields the rules in the order of their groups; those of groups that are not named come first."""
    positions = {name: index for index, name in enumerate(group_names)}
    for group in sorted(rules.groups, key=lambda group: positions.get(group.name, 0)):
        yield from group.rules


def _check(test_file: TestFile, rules: RuleSet, metrics: set[str]) -> None:
    groups = {group.name for group in rules.groups}
    for name in test_file.group_eval_order:
        if name not in groups:
            raise TestFileInvalid(f"group_eval_order: no rule file has a group {name}")
    if of_alerts := sorted(metrics & ALERT_SERIES):
        raise TestFileInvalid(f"input_series: {of_alerts[0]} come from the rules, and cannot be given")


def _failures(scenario: Scenario, playback: Playback) -> Iterator[TestFailure]:
    failed = playback.failed
    by_time = sorted(scenario.alert_tests, key=lambda test: test.at_ms)
    for test in by_time:
        if failed is None or test.at_ms < failed.at_ms:
            yield from _alert_failures(scenario, test, playback)
    if failed is not None:
        at = Duration(failed.at_ms / 1000)
        for failure in failed.failures:
            yield TestFailure(f"    rule: {failure.name}, time: {at}, err: {failure.message}")
        return
    for expression_test in scenario.expression_tests:
        yield from _expression_failures(expression_test, playback)


def _alert_failures(scenario: Scenario, test: AlertTest, playback: Playback) -> Iterator[TestFailure]:
    got = sorted(
        (_format_labels(alert.labels), _format_labels(alert.annotations))
        for alert in playback.alerts(test.at_ms)
        if alert.name == test.alertname and alert.state is AlertState.FIRING
    )
    expected = sorted(
        (_format_labels({**alert.labels, "alertname": test.alertname}), _format_labels(alert.annotations))
        for alert in test.expected
    )
    if got != expected:
        name = f"    name: {scenario.name},\n" if scenario.name else ""
        yield TestFailure(
            f"{name}    alertname: {test.alertname}, time: {Duration(test.at_ms / 1000)}, ",
            _format_alerts(expected),
            _format_alerts(got),
            ", ",
        )


def _expression_failures(test: ExpressionTest, playback: Playback) -> Iterator[TestFailure]:
    headline = f"    expr: {quote(test.expr)}, time: {Duration(test.at_ms / 1000)},"
    try:
        got = sorted(_format_sample(sample) for sample in playback.query(test.expr, test.at_ms))
    except (ExpressionRefused, RuleEvaluationFailed) as error:
        yield TestFailure(f"{headline} err: {error}")
        return
    expected: list[tuple[str, str]] = []
    for sample in test.expected:
        try:
            name, labels = parse_series(sample.labels)
        except ValueError as error:
            yield TestFailure(f"{headline} err: labels {quote(sample.labels)}: {error}")
            return
        expected.append(_format_sample((name, labels, sample.value)))
    if got != sorted(expected) or any(value == "NaN" for _, value in got):  # NaN is not NaN, says promtool
        yield TestFailure(headline, _format_samples(sorted(expected)), _format_samples(got))


def _format_sample(sample: Sample) -> tuple[str, str]:
    name, labels, value = sample
    return _format_labels({**({METRIC_NAME: name} if name else {}), **dict(labels.pairs)}), exponential(value)


def _format_samples(samples: Sequence[tuple[str, str]]) -> str:
    return " " + (", ".join(f"{labels} {value}" for labels, value in samples) or "nil")


def _format_alerts(alerts: Sequence[tuple[str, str]]) -> str:
    if not alerts:
        return "[]"
    inside = ",\n".join(
        f"{index}:\n  Labels:{labels}\n  Annotations:{annotations}"
        for index, (labels, annotations) in enumerate(alerts)
    )
    return "[\n" + "\n".join(f"            {line}" for line in inside.splitlines()) + "\n            ]"


def _format_labels(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{label_text(name)}={quote(labels[name])}" for name in sorted(labels)) + "}"

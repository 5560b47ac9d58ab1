"""Rule unit tests run on this program's own engine, with promtool's verdict and output."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from exporter.alerts.alert import AlertState
from exporter.durations import Duration
from exporter.errors import RuleEvaluationFailed, RuleFileInvalid
from exporter.rules.files.compiler import Options
from exporter.rules.files.loading import RuleSet, load
from exporter.rules.golang import compile_pattern, duration, exponential, quote
from exporter.rules.promql.refusal import ExpressionRefused
from exporter.rules.promql.series import METRIC_NAME, Labels, Sample, label_text
from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promtool.coverage import Coverage
from exporter.rules.promtool.files import (
    AlertTest,
    ExpressionTest,
    Scenario,
    TestFile,
    TestFileInvalid,
    read,
)
from exporter.rules.promtool.input_series import InputSeries, parse_series
from exporter.rules.promtool.playback import Playback, Reference, play
from exporter.rules.promtool.results import CaseResult, TestFailure, TestResult
from exporter.rules.rule import AnyCompiledRule
from exporter.rules.templates.values import External


def run_tests(
    files: Sequence[str],
    names: Sequence[str] = (),
    *,
    ignore_unknown_fields: bool = False,
    coverage: Coverage | None = None,
    reference: Reference = 3,
) -> list[TestResult]:
    """Runs the test files, each on the rule files that it names, as that release of promtool.

    ``coverage`` takes what they make true.

    ``names`` are patterns of RE2: only tests whose name one of them matches are run. Fields of rule files that are not
    known are an error, unless ``ignore_unknown_fields``. Raises ValueError where a pattern is none.
    """
    pattern = compile_pattern("|".join(names)) if names else None
    options = Options(ignore_unknown_fields=ignore_unknown_fields)
    return [_run_file(file, pattern, options, coverage, reference) for file in files]


def _run_file(file: str, names: Any, options: Options, coverage: Coverage | None, reference: Reference) -> TestResult:
    try:
        test_file = read(file)
        rules = load([os.path.normpath(Path(file).parent / pattern) for pattern in test_file.rule_files], options)
        _check_groups(test_file, rules)
        ordered = list(_in_order(rules, test_file.group_eval_order))
        if coverage is not None:
            ordered = [coverage.watched(rule) for rule in ordered]
        selected = [(i, s) for i, s in enumerate(test_file.scenarios) if names is None or names.search(s.name)]
        series = [scenario.series(test_file.evaluation_interval_ms) for _, scenario in selected]
        _check_series({one.name for of_scenario in series for one in of_scenario})
    except (TestFileInvalid, RuleFileInvalid) as error:
        return TestResult(file, (), str(error))
    return TestResult(
        file,
        tuple(
            CaseResult(
                scenario.name or f"unnamed#{index}", tuple(_run(scenario, of_scenario, test_file, ordered, reference))
            )
            for (index, scenario), of_scenario in zip(selected, series, strict=True)
        ),
    )


def _run(
    scenario: Scenario,
    series: Sequence[InputSeries],
    test_file: TestFile,
    rules: Sequence[AnyCompiledRule],
    reference: Reference,
) -> Iterator[TestFailure]:
    external = External(scenario.external_labels, scenario.external_url)
    playback = play(
        [replace(rule, external=external) if rule.kind == "alerting" else rule for rule in rules],
        series,
        start_ms=scenario.start_ms,
        until_ms=scenario.start_ms + scenario.ends_at_ms,
        interval_ms=test_file.evaluation_interval_ms,
        reference=reference,
    )
    yield from _failures(scenario, playback, is_fuzzy=test_file.fuzzy_compare == "true")


def _in_order(rules: RuleSet, group_names: Sequence[str]) -> Iterator[AnyCompiledRule]:
    """Yields the rules in the order of their groups; those not named come beside the first one, as in promtool."""
    positions = {name: index for index, name in enumerate(group_names)}
    for group in sorted(rules.groups, key=lambda group: positions.get(group.name, 0)):
        yield from group.rules


def _check_groups(test_file: TestFile, rules: RuleSet) -> None:
    groups = {group.name for group in rules.groups}
    for name in test_file.group_eval_order:
        if name not in groups:
            raise TestFileInvalid(f"group_eval_order: no rule file has a group {name}")


def _check_series(metrics: set[str]) -> None:
    if of_alerts := sorted(metrics & ALERT_SERIES):
        raise TestFileInvalid(f"input_series: {of_alerts[0]} come from the rules, and cannot be given")


def _failures(scenario: Scenario, playback: Playback, *, is_fuzzy: bool) -> Iterator[TestFailure]:
    failed = playback.failed
    by_time = sorted(scenario.alert_tests, key=lambda test: test.at_ms)
    for test in by_time:
        if failed is None or scenario.start_ms + test.at_ms < failed.at_ms:
            yield from _alert_failures(scenario, test, playback)
    if failed is not None:
        for failure in failed.failures:
            at = duration(failed.at_ms)
            yield TestFailure(f"    rule: {failure.name}, time: {at}, err: {failure.message}")
        return
    for expression_test in scenario.expression_tests:
        yield from _expression_failures(scenario, expression_test, playback, is_fuzzy=is_fuzzy)


def _alert_failures(scenario: Scenario, test: AlertTest, playback: Playback) -> Iterator[TestFailure]:
    got = sorted(
        (_format_labels(alert.labels), _format_labels(alert.annotations))
        for alert in playback.alerts(scenario.start_ms + test.at_ms)
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


def _expression_failures(
    scenario: Scenario, test: ExpressionTest, playback: Playback, *, is_fuzzy: bool
) -> Iterator[TestFailure]:
    headline = f"    expr: {quote(test.expr)}, time: {Duration(test.at_ms / 1000)},"
    try:
        got = _sorted(playback.query(test.expr, scenario.start_ms + test.at_ms))
    except (ExpressionRefused, RuleEvaluationFailed) as error:
        yield TestFailure(f"{headline} err: {error}")
        return
    samples: list[Sample] = []
    for sample in test.expected:
        try:
            name, labels = parse_series(sample.labels)
        except ValueError as error:
            yield TestFailure(f"{headline} err: labels {quote(sample.labels)}: {error}")
            return
        samples.append((name, labels, sample.value))
    expected = _sorted(samples)
    if not _equal(expected, got, is_fuzzy=is_fuzzy):
        yield TestFailure(headline, _format_samples(expected), _format_samples(got))


def _sorted(samples: Iterable[Sample]) -> list[tuple[str, float]]:
    """Returns series, as they are written, and values."""
    formatted = ((_format_series(name, labels), value) for name, labels, value in samples)
    return sorted(formatted, key=lambda sample: (sample[0], exponential(sample[1])))


def _equal(expected: Sequence[tuple[str, float]], got: Sequence[tuple[str, float]], *, is_fuzzy: bool) -> bool:
    """Returns whether samples are the same; a NaN is not, as promtool has it."""
    return len(expected) == len(got) and all(
        series == other and (value == number or (is_fuzzy and number in _neighbours(value)))
        for (series, value), (other, number) in zip(expected, got, strict=True)
    )


def _neighbours(value: float) -> tuple[float, float]:
    return math.nextafter(value, -math.inf), math.nextafter(value, math.inf)


def _format_series(name: str, labels: Labels) -> str:
    return _format_labels({**({METRIC_NAME: name} if name else {}), **dict(labels.pairs)})


def _format_samples(samples: Sequence[tuple[str, float]]) -> str:
    return " " + (", ".join(f"{labels} {exponential(value)}" for labels, value in samples) or "nil")


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

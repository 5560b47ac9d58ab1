"""A compiled rule gives the samples of its alerts, labels and annotations expanded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.alerts.alert import AlertState
from exporter.alerts.lifecycle import evaluate
from exporter.errors import RuleEvaluationFailed
from exporter.rules.promql.sources import source_of
from tests.support.builders import PARTICIPANT, POLICY, at, bucket, failed, observed, poll, view
from tests.support.rules import rule, rules

if TYPE_CHECKING:
    from pathlib import Path

LOW = view(poll(bucket(3_600, policy="A"), bucket(36_000, policy="B")))


@pytest.mark.parametrize(
    ("expr", "selected"),
    [
        ("time() - max by (participant) (dict_rate_limit_category_changed_timestamp_seconds) < 3600", []),
        ('dict_rate_limit_up{participant="1"} == 0 and ALERTS', ['dict_rate_limit_up{participant="1"}']),
        ("dict_rate_limit_up offset 5m == 0 unless dict_rate_limit_up", ["dict_rate_limit_up"]),
        ("rate({'dict_rate_limit_capacity', policy != 'X'}[5m]) > 0", ['dict_rate_limit_capacity{policy!="X"}']),
    ],
)
def test_what_a_rule_selects_is_told_but_alerts_and_what_an_event_brings(tmp_path: Path, expr: str, selected: object):
    expr = expr.replace('"', '\\"')

    assert [one.text for one in rule(tmp_path, f'"{expr}"').series_selectors()] == selected


def test_a_sample_holds_the_alerts_labels_and_annotations(tmp_path: Path):
    made = rule(
        tmp_path,
        "dict_rate_limit_utilization_percent >= 80",
        'labels: {severity: critical, level: "{{ if gt $value 85.0 }}high{{ end }}", team: tokens}',
        'annotations: {summary: "{{ $value }} {{ $labels.policy }} {{ $labels.__name__ }}", empty: "{{ $labels.x }}"}',
    )

    [sample] = made.evaluate(LOW, [])

    assert sample.labels == {
        "alertname": "TokensLow",
        "severity": "critical",
        "participant": PARTICIPANT,
        "policy": "A",
        "level": "high",
        "team": "tokens",
    }
    assert sample.annotations == {"summary": "90 A dict_rate_limit_utilization_percent", "empty": ""}
    assert sample.value == 90.0


def test_a_label_that_comes_out_empty_is_dropped(tmp_path: Path):
    made = rule(
        tmp_path,
        "dict_rate_limit_utilization_percent >= 80",
        'labels: {severity: info, policy: "", level: "{{ $labels.nothing }}"}',
    )

    [sample] = made.evaluate(LOW, [])

    assert sample.labels == {"alertname": "TokensLow", "severity": "info", "participant": PARTICIPANT}
    assert not made.per_policy


def test_whatever_a_rule_raises_is_its_own_failure(tmp_path: Path, monkeypatch):
    made = rule(tmp_path, "dict_rate_limit_utilization_percent", "labels: {severity: info}")
    monkeypatch.setattr(type(made), "_sample", lambda *_: (_ for _ in ()).throw(RecursionError("too deep")))

    with pytest.raises(RuleEvaluationFailed, match="RecursionError: too deep"):
        made.evaluate(LOW, [])


def test_samples_that_labels_make_the_same_are_a_failure(tmp_path: Path):
    made = rule(tmp_path, "dict_rate_limit_utilization_percent", 'labels: {severity: info, policy: ""}')

    with pytest.raises(RuleEvaluationFailed, match="same labelset after applying alert labels"):
        made.evaluate(LOW, [])


def test_the_name_tells_samples_apart_only_before_they_are_alerts(tmp_path: Path):
    made = rule(tmp_path, "dict_rate_limit_capacity or ignoring (x) (dict_rate_limit_available_tokens > 0)")
    both = rule(
        tmp_path, "dict_rate_limit_capacity or on (participant, policy, __name__) dict_rate_limit_available_tokens"
    )

    assert len(made.evaluate(LOW, [])) == 2
    with pytest.raises(RuleEvaluationFailed):
        both.evaluate(LOW, [])


def test_a_poll_is_read_once_for_all_rules(tmp_path: Path):
    made = rules(
        tmp_path,
        "alert: A\nexpr: dict_rate_limit_utilization_percent > 50\nlabels: {severity: info}",
        "alert: B\nexpr: dict_rate_limit_utilization_percent > 95\nlabels: {severity: info}",
    ).rules

    assert source_of(LOW) is source_of(LOW)
    assert [len(one.evaluate(LOW, [])) for one in made] == [1, 0]
    assert [len(one.evaluate(view(poll(bucket(1))), [])) for one in made] == [1, 1]


@pytest.mark.parametrize(
    ("expr", "with_rate", "without_rate"),
    [
        ("dict_rate_limit_utilization_percent > 50", True, True),
        ("dict_rate_limit_error_404_rate > 0.5", True, False),
        ("dict_rate_limit_error_404_rate > 0.5 and dict_rate_limit_capacity > 5", True, False),
        ("dict_rate_limit_error_404_rate > 0.5 or dict_rate_limit_capacity > 5", True, True),
        ("dict_rate_limit_capacity unless dict_rate_limit_error_404_rate", True, True),
        ("dict_rate_limit_error_404_rate / dict_rate_limit_capacity > 1", True, False),
        ("max by (participant, policy) (abs(dict_rate_limit_error_404_rate)) > 1", True, False),
        ('ALERTS{alertname="TokensLow"}', True, True),
    ],
)
def test_an_alert_that_recovered_is_told_from_one_without_data(
    tmp_path: Path, expr: str, *, with_rate: bool, without_rate: bool
):
    made = rule(tmp_path, f"'{expr}'")
    with_share, without_share = view(poll(observed(bucket(), share=0.1))), view(poll(bucket()))

    assert made.has_data(with_share, POLICY) is with_rate
    assert made.has_data(without_share, POLICY) is without_rate


def test_a_participant_has_data_where_any_of_its_series_is_there(tmp_path: Path):
    assert rule(tmp_path, "dict_rate_limit_up == 0").has_data(view(poll(), failed(15)), None)
    assert rule(tmp_path, "dict_rate_limit_capacity").has_data(LOW, None)
    assert not rule(tmp_path, "dict_rate_limit_category_changed_timestamp_seconds > 0").has_data(LOW, None)


def test_a_label_template_that_came_out_empty_is_in_the_series_of_the_alert_as_written(tmp_path: Path):
    first, second = rules(
        tmp_path,
        'alert: First\nexpr: dict_rate_limit_up\nlabels: {severity: info, level: "{{ $labels.nothing }}"}',
        'alert: Second\nexpr: ALERTS{alertname="First", level!=""}\nlabels: {severity: info}',
    ).rules

    open_alerts = evaluate([first], LOW, {}).alerts

    [sample] = second.evaluate(LOW, list(open_alerts.values()))
    assert sample.labels["level"] == "{{ $labels.nothing }}"
    assert sample.labels["alertstate"] == "firing"


def test_alerts_that_differ_in_a_label_alertstate_alone_are_one_series(tmp_path: Path):
    first, second, third = rules(
        tmp_path,
        "alert: First\nexpr: dict_rate_limit_up\nfor: 30s\nlabels: {severity: info}",
        'alert: Second\nexpr: ALERTS{alertname="First"}\nlabels: {severity: info}',
        'alert: Third\nexpr: count by (participant) (ALERTS{alertname="Second"})\nlabels: {severity: info}',
    ).rules

    open_alerts = evaluate([first, second], LOW, {}).alerts
    open_alerts = evaluate([first, second], view(poll(seconds=30)), open_alerts).alerts

    [sample] = third.evaluate(LOW, list(open_alerts.values()))
    assert sample.value == 1.0


def test_hysteresis_is_plain_promql(tmp_path: Path):
    made = rule(
        tmp_path,
        "|\n"
        "  max by (participant, policy) (dict_rate_limit_utilization_percent) >= 80 or\n"
        "  max by (participant, policy) (dict_rate_limit_utilization_percent >= 75\n"
        '    and on (participant, policy) ALERTS{alertname="TokensLow", alertstate="firing"})',
    )
    open_alerts = {}
    firing = []
    for number, available in enumerate((9_000, 7_200, 8_999, 9_001, 9_000)):
        open_alerts = evaluate([made], view(poll(bucket(available), seconds=number * 15)), open_alerts).alerts
        firing.append([alert.state for alert in open_alerts.values()] == [AlertState.FIRING])

    assert firing == [False, True, True, False, False]


def test_an_alert_carries_its_instant_over_a_changed_expression(tmp_path: Path):
    before = rule(tmp_path, "dict_rate_limit_up", "for: 1m", "labels: {severity: info}")
    after = rule(tmp_path, "dict_rate_limit_up > 0", "for: 30s", "labels: {severity: info}")

    open_alerts = evaluate([before], view(poll()), {}).alerts
    [alert] = evaluate([after], view(poll(seconds=30)), open_alerts).alerts.values()

    assert (alert.state, alert.active_since) == (AlertState.FIRING, at(0))

"""ALERTS as it was: rules that look back at what they and others made of earlier polls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.buckets.observation import PARTICIPANT_REMOVED, view_after
from exporter.history.replay import Replay
from exporter.rules.files.loading import load
from tests.support.builders import bucket, failed, poll, read
from tests.support.rules import rule_file, rules

if TYPE_CHECKING:
    from exporter.buckets.observation import View

SLOW = "alert: Slow\nexpr: dict_rate_limit_up == 0\nfor: 30s\nlabels: {severity: info}"
DOWN = "alert: Down\nexpr: dict_rate_limit_up == 0\nlabels: {severity: info}"
LEVELS = (1, 0, 0, 1, 0, 0, 0, 1)


def values(folder: Path, expr: str, *, before: bool = False, levels: tuple[int, ...] = LEVELS) -> list[float | None]:
    """What a rule gives at polls 15 s apart, of which those of level 0 fail; ``before``: it stands before Down."""
    watching = f"alert: Watching\nexpr: {expr}\nlabels: {{severity: info}}"
    replay = Replay(rules(folder, *((watching, DOWN) if before else (DOWN, SLOW, watching))).rules)
    view: View | None = None
    got: list[float | None] = []
    for index, level in enumerate(levels):
        seconds = 15 * index
        view = view_after(view, poll(bucket(), seconds=seconds) if level else failed(seconds))
        alerts = replay.step_to(view).alerts.values()
        got.append(next((alert.value for alert in alerts if alert.name == "Watching"), None))
    return got


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("count_over_time(ALERTS{alertname='Down'}[1m])", [None, 1, 2, 2, 3, 3, 3, 3]),
        ("ALERTS{alertname='Down'} offset 15s", [None, None, 1, 1, None, 1, 1, 1]),
        ("ALERTS{alertname='Down'} offset 20s", [None, None, None, 1, 1, None, 1, 1]),
        ("max_over_time(ALERTS{alertname='Down', alertstate='pending'}[20s])", [None] * 8),
        ("max_over_time(ALERTS{alertname='Slow', alertstate='pending'}[20s])", [None, 1, 1, 1, 1, 1, 1, None]),
        ("max_over_time(ALERTS{alertname='Slow', alertstate='firing'}[20s])", [None] * 6 + [1, 1]),
        ("sum_over_time(ALERTS{alertname='Down'}[1m:30s])", [None, None, 1, 1, 2, 2, 2, 2]),
        ("changes(ALERTS_FOR_STATE{alertname='Down'}[2m])", [None, 0, 0, 0, 1, 1, 1, 1]),
        ("timestamp(ALERTS{alertname='Down'}) - time()", [None, 0, 0, None, 0, 0, 0, None]),
        ("timestamp((ALERTS{alertname='Down'})) - time()", [None, 0, 0, None, 0, 0, 0, None]),
        ("last_over_time(ALERTS{alertname='Down'}[40s])", [None, 1, 1, 1, 1, 1, 1, 1]),
        ("absent_over_time(ALERTS{participant='12345678', alertname='Down'}[40s])", [1] + [None] * 7),
    ],
)
def test_a_rule_sees_the_alerts_of_one_before_it(tmp_path: Path, expr: str, expected: list[float | None]) -> None:
    assert values(tmp_path, expr) == expected


def test_a_rule_sees_those_of_later_rules_up_to_the_evaluation_before(tmp_path: Path) -> None:
    count = "count_over_time(ALERTS{alertname='Down'}[1m])"

    assert values(tmp_path, count, before=True) == [None, None, 1, 2, 2, 2, 2, 3]


def test_a_rule_sees_its_own_past(tmp_path: Path) -> None:
    expr = "dict_rate_limit_up == bool 5 unless on (participant) ALERTS{alertname='Watching'} offset 30s"

    assert values(tmp_path, expr, levels=(1,) * 7) == [0, 0, None, None, 0, 0, None]


def test_a_rule_that_fails_writes_nothing(tmp_path: Path) -> None:
    failing = "dict_rate_limit_capacity * on (participant) dict_rate_limit_available_tokens"
    text = f"alert: Failing\nexpr: {failing}\nlabels: {{severity: info}}"
    counting = "alert: Counting\nexpr: count_over_time(ALERTS{alertname='Failing'}[5m])\nlabels: {severity: info}"
    replay = Replay(rules(tmp_path, text, counting).rules)

    for seconds, policies in ((0, "A"), (15, "AB")):
        evaluation = replay.step(poll(*(bucket(policy=policy) for policy in policies), seconds=seconds))

    [counted] = [alert for alert in evaluation.alerts.values() if alert.name == "Counting"]
    assert [failure.name for failure in evaluation.failures] == ["Failing"]
    assert counted.value == 1


def test_a_rule_that_fails_silences_no_other_of_its_name(tmp_path: Path) -> None:
    failing = "alert: X\nexpr: dict_rate_limit_capacity > 0\nlabels: {severity: critical, policy: ''}"
    fires = "alert: X\nexpr: dict_rate_limit_up == 1\nlabels: {severity: info}"
    counting = "alert: Y\nexpr: count_over_time(ALERTS{alertname='X'}[5m])\nlabels: {severity: info}"
    replay = Replay(rules(tmp_path, failing, fires, counting).rules)

    evaluation = replay.step(poll(bucket(policy="A"), bucket(policy="B")))

    assert [failure.name for failure in evaluation.failures] == ["X"]
    assert {alert.name for alert in evaluation.alerts.values()} == {"X", "Y"}


def test_rules_of_one_name_are_seen_as_they_are_after_their_own_turn(tmp_path: Path) -> None:
    first = "alert: X\nexpr: dict_rate_limit_up == 0\nlabels: {severity: info, k: a}"
    reader = "alert: Y\nexpr: ALERTS{alertname='X'} > 0\nlabels: {severity: info}"
    ranged = "alert: Z\nexpr: count_over_time(ALERTS{alertname='X'}[2m])\nlabels: {severity: info}"
    second = "alert: X\nexpr: dict_rate_limit_up == 5\nlabels: {severity: info, k: b}"
    replay = Replay(rules(tmp_path, first, reader, ranged, second).rules)
    names = [
        sorted(alert.name for alert in replay.step(one).alerts.values())
        for one in (failed(0), poll(bucket(), seconds=15), failed(30))
    ]

    assert names == [["X", "Y", "Z"], ["Z"], ["X", "Y", "Z"]]


def test_reads_that_show_nothing_new_are_no_samples(tmp_path: Path) -> None:
    low = "alert: Low\nexpr: dict_rate_limit_available_tokens < 10\nlabels: {severity: info}"
    counting = "alert: Often\nexpr: count_over_time(ALERTS{alertname='Low'}[5m])\nlabels: {severity: info}"
    replay = Replay(rules(tmp_path, low, counting).rules)
    levels = (1, 1, 1, 2, 2)

    replay.step(poll(bucket(1), sequence=1))
    for index, level in enumerate(levels):
        evaluation = replay.step(read(bucket(level), seconds=index + 1, sequence=index + 2))

    assert {alert.name: alert.value for alert in evaluation.alerts.values()} == {"Low": 2, "Often": 2}


def test_a_rule_that_is_beyond_its_limit_for_long_can_end(tmp_path: Path) -> None:
    rule = "alert: X\nexpr: dict_rate_limit_available_tokens < 10\nlabels: {severity: info}"
    counting = "alert: Y\nexpr: count_over_time(ALERTS{alertname='X'}[5m])\nlabels: {severity: info}"
    file = rule_file(tmp_path, rule, counting)
    Path(file).write_text(Path(file).read_text().replace("rules:", "limit: 1\n    rules:"))
    replay = Replay(load([file]).rules)

    for index in range(140):
        levels = (1, 50) if index == 0 else (1, 1) if index < 130 else (50, 50)
        evaluation = replay.step(
            poll(*(bucket(level, policy=name) for level, name in zip(levels, "AB", strict=True)), seconds=15 * index)
        )

    assert evaluation.alerts == {}


def test_what_was_written_of_a_participant_that_is_removed_is_forgotten(tmp_path: Path) -> None:
    counting = "alert: Often\nexpr: count_over_time(ALERTS{alertname='Down'}[5m])\nlabels: {severity: info}"
    replay = Replay(rules(tmp_path, DOWN, counting).rules)
    values: list[float] = []
    for seconds, code in ((0, "UNAVAILABLE"), (15, "UNAVAILABLE"), (30, PARTICIPANT_REMOVED), (45, "UNAVAILABLE")):
        alerts = replay.step(failed(seconds, code)).alerts.values()
        values += [alert.value for alert in alerts if alert.name == "Often"]

    assert values == [1, 2, 1]

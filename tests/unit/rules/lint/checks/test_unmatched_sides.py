"""Sides of an operator that never match are told, with the label that keeps them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path


USED = "dict_rate_limit_utilization_percent"
UP = "dict_rate_limit_up"
FIRING = 'ALERTS{alertname="A", alertstate="firing"}'
INFO = "dict_rate_limit_participant_info"


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        (f"{USED} > 80 unless {UP} == 0", "removes nothing, for its sides never match: on the left policy is there"),
        (f"{USED} > 80 and on (participant, policy) {UP} == 1", "policy is there, on the right missing"),
        (f"{USED} > 80 and ignoring (policy) {FIRING}", "alertname is missing, on the right A"),
        (f"{USED} * {INFO} > 80", "policy is there, on the right missing"),
        (f'{USED}{{policy="X"}} > {USED}{{policy="Y"}}', "on the left policy is X, on the right Y"),
        (f'{USED} > 80 and ({UP} == 0 or {INFO}{{psp_category="A"}})', "policy is there, on the right missing"),
        (f"sum by (participant) ({USED}) > 80 and {USED} > 90", "policy is missing, on the right there"),
        (f'{FIRING} and ALERTS{{alertname="B"}}', "on the left alertname is A, on the right B"),
        (f"{FIRING} and on (participant) vector(1)", "on the left participant is there, on the right missing"),
        (
            f"max by (participant) ({USED}) > 80 and on (participant, policy) label_replace({USED}, 'x', 'y', '', '')",
            "policy is missing, on the right there",
        ),
        (
            f"{USED} > 5 unless on (participant, policy) ALERTS{{alertname='Down'}}",
            "policy is there, on the right missing",
        ),
        (
            'dict_rate_limit_responses_total{outcome="ok"} / dict_rate_limit_capacity > 5',
            "outcome is ok, on the right missing; match by what both have: `on (participant, policy)`",
        ),
        (
            'dict_rate_limit_responses_total{outcome="ok"} / dict_rate_limit_responses_total{outcome="not_found"} > 5',
            "match by what both have: `on (participant, policy)`",
        ),
        (f"(participant:up:min > 0) and on (participant, policy) {USED}", "policy is missing, on the right there"),
    ],
)
def test_sides_that_never_match_are_told(tmp_path: Path, expr: str, message: str) -> None:
    record = f"record: participant:up:min\nexpr: min by (participant) ({UP})"

    down = alert_rule(f"{UP} == 0", name="Down")

    [told] = warned(tmp_path, "lint/unmatched_sides", record, down, alert_rule(expr))

    assert message in told


@pytest.mark.parametrize(
    "expr",
    [
        f"{USED} > 80 and on (participant) {UP} == 1",
        f"{USED} > 80 or {UP} == 0",
        f"{USED} / dict_rate_limit_capacity > 1",
        f"{USED} > 80 or {FIRING} and on (participant, policy) {USED}",
        f"{USED} > 80 or {FIRING} and ignoring (alertname, alertstate, severity) {USED}",
        f"{USED} > on () group_left () vector(50)",
        f"{USED} * on (participant) group_left (psp_category) {INFO} > 80",
        f"max without (policy) ({USED}) > 80 and {UP}",
        f"label_replace({UP}, 'policy', 'X', '', '') and on (participant, policy) {USED}",
        f"count_values by (participant) ('policy', {UP}) and on (participant, policy) {USED}",
        f"{USED} > 80 and on () hour() > 20",
        f"({UP} or {USED}) > 5 and on (participant, policy) {USED}",
        f"topk by (participant) (1, {USED}) > 80 and {USED}",
        f"unknown:x and on (policy) {USED}",
        f'{USED}{{policy=~"X|Y"}} > 5 and {USED}{{policy="X"}}',
    ],
)
def test_sides_that_may_match_are_not(tmp_path: Path, expr: str) -> None:
    assert warned(tmp_path, "lint/unmatched_sides", "record: unknown:x\nexpr: broken", alert_rule(expr)) == []


def test_what_is_wrong_is_told_with_what_to_write(tmp_path: Path) -> None:
    [told] = warned(tmp_path, "lint/unmatched_sides", alert_rule(f"{USED} > 80 and {UP} == 1"))

    assert told == (
        f"`{USED} > 80 and {UP} == 1` gives nothing, for its sides never match: "
        "on the left policy is there, on the right missing; match by what both have: `on (participant)`"
    )

"""An alert that fires while nothing is wrong is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path


USED = "dict_rate_limit_utilization_percent"
UP = "dict_rate_limit_up"


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        (USED, "has no condition: it fires while nothing is wrong"),
        (f"count by (participant) ({USED}) > 0", "has no condition: it fires while nothing is wrong"),
        (UP, "has no condition"),
        (f"{USED} and on (participant) {UP} == 1", "has no condition"),
        (f"{USED} unless on (participant) dict_rate_limit_refused_policies >= 0 or {UP} == 0", ""),
        (f"max by (participant) ({USED} > bool 80)", "a comparison with `bool` gives 0 or 1, and keeps every series"),
        (f"{USED} > 80 or max_over_time({USED}[5m])", "has no condition"),
        (f"rate({USED}[5m]) * 60", "has no condition"),
        ("a:b * 2", "has no condition"),
        (f"topk by (participant) (1, {USED})", "has no condition"),
        ("dict_rate_limit_refused_policies < 1", "has no condition"),
        ("a:b / a:b or a:b", "has no condition"),
        (f"{USED} unless on (participant) {UP} == 0", "has no condition"),
        (f"(({UP} == 1) and {UP}{{participant='12345678'}})", "has no condition"),
    ],
)
def test_an_alert_that_compares_nothing_is_told(tmp_path: Path, expr: str, message: str) -> None:
    told = warned(tmp_path, "lint/no_condition", f"record: a:b\nexpr: {USED} * 2", alert_rule(expr))

    assert bool(told) is bool(message)
    assert message in "".join(told)


@pytest.mark.parametrize(
    "expr",
    [
        f"{USED} > 80",
        f"{UP} == 0",
        f"{UP} != 1",
        f"max_over_time(({USED} > 80)[5m:])",
        f"{USED} and on (participant) {UP} == 0",
        f"{USED} > dict_rate_limit_capacity",
        f"{USED} unless dict_rate_limit_capacity",
        'absent(dict_rate_limit_capacity{participant="12345678"})',
        'ALERTS{alertname="A"} and on (participant) dict_rate_limit_up',
        "dict_rate_limit_category_changed_timestamp_seconds",
        "(dict_rate_limit_refused_policies > 0) * 2",
        "c:d",
        f"min_over_time({UP}[5m]) == 1",
        'dict_rate_limit_participant_info{psp_category="H"}',
        f'{USED} and on (participant) dict_rate_limit_participant_info{{psp_category=~"G|H"}}',
        f"{USED} > 80 unless on (participant) {UP} == 0",
        "is:refused",
    ],
)
def test_one_that_tells_some_from_others_is_not(tmp_path: Path, expr: str) -> None:
    record = f"record: c:d\nexpr: {USED} > 80"

    refused = "record: is:refused\nexpr: vector(1)"

    assert warned(tmp_path, "lint/no_condition", record, refused, alert_rule(expr)) == []
    assert warned(tmp_path, "lint/no_condition", f"record: e:f\nexpr: {USED}") == []

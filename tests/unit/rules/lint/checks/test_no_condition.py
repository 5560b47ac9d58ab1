"""An alert that fires whatever the figures is told."""

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
        (USED, "compares nothing: it fires for every bucket, whatever its figures"),
        (UP, "compares nothing: it fires for every participant, whatever its figures"),
        (f"{USED} and on (participant) {UP} == 1", "every bucket"),
        (f"{USED} unless on (participant) dict_rate_limit_refused_policies >= 0 or {UP} == 0", ""),
        (f"max by (participant) ({USED} > bool 80)", "a comparison with `bool` gives 0 or 1, and keeps every series"),
        (f"{USED} > 80 or max_over_time({USED}[5m])", "every bucket"),
        (f"rate({USED}[5m]) * 60", "every bucket"),
        ("a:b * 2", "every bucket"),
        (f"topk by (participant) (1, {USED})", "every bucket"),
        ("dict_rate_limit_refused_policies < 1", "every participant"),
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
    ],
)
def test_one_that_tells_some_from_others_is_not(tmp_path: Path, expr: str) -> None:
    record = f"record: c:d\nexpr: {USED} > 80"

    assert warned(tmp_path, "lint/no_condition", record, alert_rule(expr)) == []
    assert warned(tmp_path, "lint/no_condition", f"record: e:f\nexpr: {USED}") == []

"""A template on a label that the result has lost is told, with what loses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path


CAPACITY = "dict_rate_limit_capacity"


def found(folder: Path, expr: str, label: str = "policy") -> list[str]:
    texts = alert_rule(expr, name="A").replace("runbook_url: x", f"runbook_url: '{{{{ $labels.{label} }}}}'")
    return warned(
        folder, "lint/empty_template_label", "record: a:b\nexpr: min by (participant) (" + CAPACITY + ")", texts
    )


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        (f"sum by (participant) ({CAPACITY}) < 5", ": `sum by (participant)` drops the label"),
        (f"max without (policy) ({CAPACITY}) < 5", ": `max without (policy)` drops the label"),
        (f"{CAPACITY} / on (participant) {CAPACITY} < 5", ": `/ on (participant)` drops the label"),
        ("a:b < 5", ""),
        ("dict_rate_limit_up == 0", ""),
        (f"dict_rate_limit_up == 0 and on (participant) {CAPACITY}", ""),
    ],
)
def test_a_label_that_the_result_has_not_is_told(tmp_path: Path, expr: str, why: str) -> None:
    assert found(tmp_path, expr) == [f"annotation runbook_url: `$labels.policy` is always empty{why}"]


@pytest.mark.parametrize(
    "expr",
    [
        f"{CAPACITY} < 5",
        f"sum by (participant, policy) ({CAPACITY}) < 5 or sum by (participant) ({CAPACITY}) < 5",
        f"dict_rate_limit_up * on (participant) group_right () {CAPACITY} < 5",
        f"topk by (participant) (1, {CAPACITY}) < 5",
        f"sum by (participant) ({CAPACITY}) * on (participant) group_right () {CAPACITY} < 5",
        f"{CAPACITY} < 5 or (ALERTS{{alertname='A'}} and on (participant) dict_rate_limit_up == 0)",
        'absent(dict_rate_limit_capacity{participant="12345678", policy="KEYS_CHECK"})',
        "label_replace(dict_rate_limit_up, 'policy', 'x', '', '') == 0",
    ],
)
def test_one_that_it_can_have_is_not(tmp_path: Path, expr: str) -> None:
    assert found(tmp_path, expr) == []


def test_a_label_that_group_left_brings_is_there(tmp_path: Path) -> None:
    expr = f"{CAPACITY} * on (participant) group_left (psp_category) dict_rate_limit_participant_info < 5"

    assert found(tmp_path, expr, "psp_category") == []
    assert found(tmp_path, expr.replace("(psp_category)", ""), "psp_category")

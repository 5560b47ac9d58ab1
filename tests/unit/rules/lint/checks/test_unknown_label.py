"""Labels of what Prometheus scrapes may be dropped by name, though no series here has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path

LEVEL = "dict_rate_limit_available_tokens"


@pytest.mark.parametrize(
    "expr",
    [
        f"sum without (job, instance, pod, namespace, policy) ({LEVEL}) < 5",
        f"{LEVEL} < 5 and ignoring (endpoint, service) dict_rate_limit_capacity",
    ],
)
def test_a_label_of_a_target_that_is_left_out_is_not_told(tmp_path: Path, expr: str) -> None:
    assert warned(tmp_path, "lint/unknown_label", alert_rule(expr)) == []


@pytest.mark.parametrize(
    ("expr", "label"),
    [
        (f"sum without (polcy) ({LEVEL}) < 5", "polcy"),
        (f"sum by (participant, pod) ({LEVEL}) < 5", "pod"),
        (f"{LEVEL} < 5 and on (participant, namespace) dict_rate_limit_up", "namespace"),
        (f"{LEVEL}{{pod='a'}} < 5", "pod"),
    ],
)
def test_another_label_that_no_series_has_is_told(tmp_path: Path, expr: str, label: str) -> None:
    assert f"has a label {label}" in told(tmp_path, expr) or f"has no label {label}" in told(tmp_path, expr)


def told(folder: Path, expr: str) -> str:
    [message] = warned(folder, "lint/unknown_label", alert_rule(expr))
    return message

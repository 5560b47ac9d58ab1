"""A threshold in another unit than what it is compared with is told, with the number that was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path


USED = "dict_rate_limit_utilization_percent"
SHARE = "dict_rate_limit_lowest_available_tokens / dict_rate_limit_capacity"
EXHAUSTED = "dict_rate_limit_exhaustion_projection_seconds"
SUCCESS = "dict_rate_limit_last_success_timestamp_seconds"


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        (
            f"{USED} > 0.8",
            f"`{USED} > 0.8` seems to compare per cent with a share: {USED} is 0 to 100; for 80 % write that",
        ),
        (f"0.95 <= {USED}", "for 95 % write that"),
        (f"avg_over_time(max by (participant) ({USED})[5m:]) >= 0.9", "for 90 % write that"),
        (f"{SHARE} <= 20", f"a share with per cent: `{SHARE}` is 1 at most; for 20 % write 0.2"),
        (f"1 - ({SHARE}) > 80", "for 80 % write 0.8"),
        (f"{EXHAUSTED} < 600000", f"seconds with milliseconds: {EXHAUSTED} is in seconds, and 600000 s are 6d22h40m"),
        (f"{EXHAUSTED} < 86400000", "seconds with milliseconds"),
        (f"min by (participant) ({SUCCESS}) < 300", f"a time with a duration: {SUCCESS} is in seconds since 1970"),
        (f"{SUCCESS} < 1764500000000", "a time with a duration"),
    ],
)
def test_a_threshold_in_another_unit_is_told(tmp_path: Path, expr: str, message: str) -> None:
    [told] = warned(tmp_path, "lint/unit", alert_rule(expr))

    assert message in told


@pytest.mark.parametrize(
    "expr",
    [
        f"{USED} > 80",
        f"{USED} > 1",
        f"{USED} > 0.1",
        f"{USED} < 0.5",
        f"{USED} == 0",
        f"100 - {USED} < 0.5",
        f"{USED} / 100 > 0.8",
        f"{EXHAUSTED} < 604800",
        f"{EXHAUSTED} < 1209600",
        f"{SHARE} < 0.2",
        f"{SHARE} >= 1",
        f"{SHARE} > 1.01",
        f"{SHARE} < -2",
        f"100 * {SHARE} < 0.5",
        "dict_rate_limit_error_404_rate > 0.2",
        "dict_rate_limit_available_tokens < 0.5",
        "dict_rate_limit_available_tokens / on (participant, policy) dict_rate_limit_available_tokens offset 1h > 20",
        f"{EXHAUSTED} < 10m",
        f"{EXHAUSTED} < 7d",
        f"{EXHAUSTED} < 86400 * 7",
        f"{EXHAUSTED} < +Inf",
        f"{EXHAUSTED} < 1.7e308",
        "dict_rate_limit_clock_skew_seconds > 1e300",
        "dict_rate_limit_recovery_eta_seconds > 5d",
        f"time() - {SUCCESS} > 300",
        f"{SUCCESS} < 1764500000",
        f"{SUCCESS} == 0",
        f"stddev_over_time({USED}[5m]) < 0.5",
        f"{USED} * 2 > 0.5",
    ],
)
def test_one_in_the_same_unit_is_not(tmp_path: Path, expr: str) -> None:
    assert warned(tmp_path, "lint/unit", alert_rule(expr)) == []

"""Words and figures of the pages."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from exporter.durations import spaced
from exporter.numbers import counted
from exporter.rules.files.loading import load
from exporter.web.status_page.templating import UNITS, breakable, figure, short_paths, shorter, unit_of

RULES = Path(__file__).parents[4] / "rules" / "dict-rate-limit.yml"


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 buckets"), (1, "1 bucket"), (2, "2 buckets"), (31_000, "31,000 buckets")]
)
def test_one_is_not_many(number: int, text: str):
    assert counted(number, "bucket") == text


@pytest.mark.parametrize(
    ("expr", "unit"),
    [
        ("dict_rate_limit_utilization_percent >= 80", "%"),
        ("max by (participant, policy) (dict_rate_limit_available_tokens <= 0)", "tokens"),
        ("max(dict_rate_limit_consumption_rate_per_minute) > 5", "tokens / min"),
        ("time() - max by (a) (dict_rate_limit_category_changed_timestamp_seconds) < 3600", "s"),
        ("max by (a) (dict_rate_limit_capacity and on (a) (time() - ALERTS_FOR_STATE > 2 unless b)) < 5", "tokens"),
        ("(dict_rate_limit_capacity and on (a) dict_rate_limit_up == 1) * 2", None),
        ("time() - dict_rate_limit_up", None),
        ("min by (a) (dict_rate_limit_available_tokens / dict_rate_limit_capacity and on (a) b == 1) <= 0.2", "share"),
        ("dict_rate_limit_available_tokens / dict_rate_limit_recovery_eta_seconds", None),
        ("dict_rate_limit_available_tokens / dict_rate_limit_capacity * 2", None),
        ("max by (a) (dict_rate_limit_error_429_rate > 0)", "share"),
        ("dict_rate_limit_last_success_timestamp_seconds > 0", None),
        ("count by (policy) (dict_rate_limit_available_tokens)", None),
        ("100 * dict_rate_limit_error_404_rate", None),
        ("dict_rate_limit_available_tokens / dict_rate_limit_capacity < 0.1", "share"),
        ("dict_rate_limit_capacity - dict_rate_limit_available_tokens > 5", None),
        ("dict_rate_limit_up == 0", None),
    ],
)
def test_an_expression_has_the_unit_of_the_gauge_that_it_shows(expr: str, unit: str | None):
    assert unit_of(expr) == unit


def test_every_shipped_rule_about_a_bucket_has_a_unit():
    rules = load([str(RULES)]).rules

    assert all(unit_of(rule.expr) in UNITS.values() for rule in rules if rule.per_policy)


def test_a_long_name_may_be_broken_between_its_words():
    assert breakable("CLAIMS_LIST") == ["CLAIMS_", "LIST"]
    assert breakable("TokensLow404") == ["Tokens", "Low404"]
    assert "".join(breakable("<b>_\u00e9 X")) == "<b>_\u00e9 X"


@pytest.mark.parametrize(
    ("name", "beside", "short"),
    [
        ("DictRateLimitTokensLow", "DictRateLimitTokensCritical", "Low"),
        ("DictRateLimitHigh404Rate", "DictRateLimitTokensCritical", "High404Rate"),
        ("Low", "Critical", "Low"),
        ("TokensLow", "TokensLow", "Low"),
        ("tokens", "tokens", "tokens"),
    ],
)
def test_a_name_beside_another_is_told_by_what_differs(name: str, beside: str, short: str):
    assert shorter(name, beside) == short


def test_a_path_is_told_by_as_much_of_its_end_as_differs():
    assert short_paths(["/etc/rules/a.yml", "/etc/rules/b.yml", "/opt/b.yml", "a.yml/b.yml"]) == {
        "/etc/rules/a.yml": "a.yml",
        "/etc/rules/b.yml": "rules/b.yml",
        "/opt/b.yml": "opt/b.yml",
        "a.yml/b.yml": "a.yml/b.yml",
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (59.4, "59s"),
        (60, "1m"),
        (1_830, "30m 30s"),
        (3_600, "1h"),
        (3_660, "1h 1m"),
        (3_601, "1h"),
        (90_000, "1d 1h"),
        (-5, "0s"),
        (432_000, "5d"),
        (math.inf, "never"),
    ],
)
def test_durations_are_said_in_two_units(seconds: float, text: str):
    assert spaced(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.35634, "0.3563"), (95.714, "95.71"), (0.0, "0"), (36_000.0, "36,000"), (-1_499.6, "-1,500"), (math.inf, "inf")],
)
def test_an_alerts_value_is_written_without_an_exponent(value: float, text: str):
    assert figure(value) == text

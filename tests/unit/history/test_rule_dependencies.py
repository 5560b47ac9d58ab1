from __future__ import annotations

import pytest

from exporter.history.rule_dependencies import time_of_day, with_dependencies
from exporter.rules.files.loading import load
from tests.support.rules import rule, rule_file, rules


def alert(name: str, expr: str = "dict_rate_limit_up == 0") -> str:
    return f"alert: {name}\nexpr: {expr}\nlabels: {{severity: warning}}"


def seeing(name: str, *seen: str) -> str:
    matched = "|".join(seen)
    return alert(name, f'dict_rate_limit_up == 0 and on (participant) ALERTS{{alertname=~"{matched}"}}')


def names(share) -> list[str]:
    return [r.name for r in share]


@pytest.mark.parametrize(
    ("name", "needed"), [("A", ["A"]), ("C", ["A", "C"]), ("D", ["A", "C", "D"]), ("E", ["D", "E", "A", "C"])]
)
def test_what_a_rule_needs_is_all_that_it_sees(tmp_path, name, needed):
    compiled = rules(tmp_path, alert("A"), alert("B"), seeing("C", "A"), seeing("D", "C"), seeing("E", "D")).rules

    selected = with_dependencies([r for r in compiled if r.name == name], compiled)

    assert names(selected) == sorted(needed)


def test_what_a_rule_needs_are_the_series_that_it_sees_and_what_these_are_made_of(tmp_path):
    def record(name: str, expr: str) -> str:
        return f"record: '{name}'\nexpr: {expr}"

    compiled = rules(
        tmp_path,
        alert("a:b"),
        seeing("C", "A").replace("alert: C", "record: 'c:d'").partition("labels")[0],
        record("a:b", "dict_rate_limit_up"),
        record("a:b", "max_over_time(e:f[5m])"),
        record("e:f", "dict_rate_limit_capacity"),
        alert("A", "a:b == 0 unless on (participant) a:b"),
        alert("B"),
    ).rules

    assert names(with_dependencies([r for r in compiled if r.name == "A"], compiled)) == ["a:b", "a:b", "e:f", "A"]
    assert names(with_dependencies([r for r in compiled if r.name == "c:d"], compiled)) == [
        "c:d", "a:b", "a:b", "e:f", "A",
    ]  # fmt: skip


def test_what_it_sees_may_be_in_another_group(tmp_path):
    rule_file(tmp_path, alert("A"), name="a.yml", group="first")
    rule_file(tmp_path, seeing("B", "A"), alert("C"), name="b.yml", group="second")
    compiled = load([str(tmp_path / "*.yml")]).rules

    assert names(with_dependencies([compiled[1]], compiled)) == ["A", "B"]


@pytest.mark.parametrize(
    ("expr", "part"),
    [
        ("dict_rate_limit_up == 0 and on () hour() < 6", "hour()"),
        ("dict_rate_limit_up * on () group_left () vector(time()) > 5", "time()"),
        ("dict_rate_limit_up == 0 and on () day_of_week() > 5", "day_of_week()"),
        ("hour(dict_rate_limit_last_success_timestamp_seconds) < 6", "dict_rate_limit_last_success_timestamp_seconds"),
        (
            "time() - count by (participant) (dict_rate_limit_last_success_timestamp_seconds) > 5",
            "time()",
        ),
        ("time() - dict_rate_limit_capacity > 0", "time()"),
        ("dict_rate_limit_up == 0 and dict_rate_limit_up @ 1700000000 == 1", "dict_rate_limit_up @ 1700000000"),
        ("max_over_time(dict_rate_limit_up[1h] @ 17e8) == 1", "dict_rate_limit_up[1h] @ 17e8"),
        ("max_over_time((dict_rate_limit_up)[1h:] @ 17e8) == 1", "(dict_rate_limit_up)[1h:] @ 17e8"),
        ("time() - dict_rate_limit_last_success_timestamp_seconds % 60 > 0", "time()"),
    ],
)
def test_what_depends_on_the_time_of_day_is_named(tmp_path, expr, part):
    assert time_of_day(rule(tmp_path, expr)) == part


@pytest.mark.parametrize(
    "expr",
    [
        "dict_rate_limit_utilization_percent > 80",
        "max_over_time(dict_rate_limit_utilization_percent[1h] @ end() offset 5m) > 80",
        "time() - dict_rate_limit_last_success_timestamp_seconds > 300",
        "(time()) - (max by (participant) (dict_rate_limit_category_changed_timestamp_seconds)) < 3600",
        'time() - max by (participant) (ALERTS_FOR_STATE{alertname="TokensLow"}) > 240',
        "hour(dict_rate_limit_capacity) > 3",
    ],
)
def test_the_age_of_a_timestamp_does_not_depend_on_the_time_of_day(tmp_path, expr):
    assert time_of_day(rule(tmp_path, expr)) is None

from __future__ import annotations

from datetime import timedelta

from exporter.history.lookback import lookback, warm_up
from tests.support.rules import rules

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def record(name: str, expr: str) -> str:
    return f"record: '{name}'\nexpr: {expr}"


def alert(expr: str, *more: str) -> str:
    return "\n".join((f"alert: A\nexpr: {expr}\nlabels: {{severity: info}}", *more))


def warm_up_of(folder, *texts: str) -> timedelta:
    return warm_up([rules(folder, *texts).rules])


def test_rules_look_back_as_far_as_the_longest_range_of_what_is_shown(tmp_path):
    compiled = rules(tmp_path, alert("max_over_time(dict_rate_limit_up[2m]) == 0"), record("a:b", "dict_rate_limit_up"))

    assert lookback([compiled.rules]) == 2 * MINUTE


def test_alerts_warm_up_for_an_hour_or_twice_the_time_that_they_wait(tmp_path):
    assert warm_up_of(tmp_path, alert("dict_rate_limit_up == 0")) == HOUR
    assert warm_up_of(tmp_path, alert("dict_rate_limit_up == 0", "for: 1h", "keep_firing_for: 30m")) == 3 * HOUR


def test_what_is_looked_back_at_of_alerts_comes_on_top(tmp_path):
    assert warm_up_of(tmp_path, alert('count_over_time(ALERTS{alertname="A"}[10m]) > 3')) >= HOUR + 10 * MINUTE


def test_rules_that_record_what_is_shown_need_no_warming_up(tmp_path):
    assert warm_up_of(tmp_path, record("a:b", "max_over_time(dict_rate_limit_up[1h])")) == timedelta()


def test_what_recorded_series_are_made_of_adds_up(tmp_path):
    texts = (
        record("a:b", "dict_rate_limit_up"),
        record("c:d", "max_over_time(a:b[10m])"),
        record("e:f", "max_over_time(c:d[20m]) or a:b"),
        record("g:h", "a:b"),
    )

    assert warm_up_of(tmp_path, *texts) == 30 * MINUTE
    assert warm_up_of(tmp_path, *reversed(texts)) == 30 * MINUTE


def test_series_that_are_made_of_themselves_warm_up_for_an_hour(tmp_path):
    assert warm_up_of(tmp_path, record("a:b", "max_over_time(a:b[10m]) or dict_rate_limit_up")) >= HOUR + 10 * MINUTE
    through_another = (record("a:b", "c:d or dict_rate_limit_up"), record("c:d", "a:b"))
    assert warm_up_of(tmp_path, *through_another) >= HOUR + 5 * MINUTE

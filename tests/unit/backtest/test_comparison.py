from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.backtest.comparison import Change, pair_episodes, side_total, totals
from exporter.history.replay import Period
from tests.support.builders import at
from tests.support.reports import episode

PERIOD = Period(at(0), at(1000))


def compared(mine, other) -> list[tuple[Change, float]]:
    return [(p.change, (p.episode.began_at - at(0)).total_seconds()) for p in pair_episodes(mine, other, at(1000))]


@pytest.mark.parametrize(
    ("mine", "other", "expected"),
    [
        ([(10, 20)], [(10, 20)], [(Change.SAME, 10)]),
        ([(10, None)], [(10, None)], [(Change.SAME, 10)]),
        ([(10, 20)], [], [(Change.NEW, 10)]),
        ([], [(10, 20)], [(Change.REMOVED, 10)]),
        ([(10, 20)], [(12, 20)], [(Change.CHANGED, 10)]),
        ([(10, 20)], [(10, None)], [(Change.CHANGED, 10)]),
        ([(10, 20)], [(20, 30)], [(Change.NEW, 10), (Change.REMOVED, 20)]),
        ([(10, 50)], [(10, 20), (25, 50)], [(Change.REMOVED, 10), (Change.CHANGED, 10)]),
    ],
)
def test_alerts_are_the_same_where_they_fired_at_the_same_time(mine, other, expected):
    pairs = compared([episode(*times) for times in mine], [episode(*times) for times in other])

    assert sorted(pairs, key=str) == sorted(expected, key=str)


@pytest.mark.parametrize("differs", [{"name": "High"}, {"policy": "CLAIMS_READ"}, {"participant": "87654321"}])
def test_alerts_about_something_else_are_not_the_same(differs):
    pairs = compared([episode(10, 20)], [episode(10, 20, **differs)])

    assert {change for change, _ in pairs} == {Change.NEW, Change.REMOVED}


times = st.lists(st.integers(0, 99), min_size=0, max_size=16, unique=True).map(sorted)


@given(times, times)
def test_every_alert_of_both_sides_is_in_one_pair(mine_times, other_times):
    mine = [episode(b, e) for b, e in zip(mine_times[::2], mine_times[1::2], strict=False)]
    other = [episode(b, e) for b, e in zip(other_times[::2], other_times[1::2], strict=False)]

    pairs = pair_episodes(mine, other, at(1000))

    assert sorted(p.mine.began_at for p in pairs if p.mine) == [e.began_at for e in mine]
    assert sorted(p.other.began_at for p in pairs if p.other) == [e.began_at for e in other]


def test_the_most_frequent_alert_comes_first():
    mine = [episode(10, 20, "Quiet"), episode(10, 20, "Loud"), episode(30, 40, "Loud")]

    by_rule = totals(pair_episodes(mine, [], PERIOD.until), PERIOD, lambda e: (e.name, e.severity, ""))

    assert [(t.name, t.mine.alerts, t.mine.firing_seconds, t.changes[Change.NEW]) for t in by_rule] == [
        ("Loud", 2, 20, 2),
        ("Quiet", 1, 10, 1),
    ]


def test_time_counts_within_the_period_only():
    assert side_total([episode(-100, 50)], PERIOD).firing_seconds == 50
    assert side_total([episode(900, None)], PERIOD).firing_seconds == 100
    total = side_total([episode(-100, 50), None, episode(900, None)], PERIOD)
    assert (total.alerts, total.firing_seconds, total.longest_seconds) == (2, 150, 100)

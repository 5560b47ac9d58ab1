"""Series that rules write: a sample at each evaluation, and where a series ends a mark, as Prometheus writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.alerts.written_series import Pairs, WrittenSample, WrittenSeries
from exporter.buckets.gauge_history import ABSENT, Samples

A, B = (("alertname", "A"),), (("alertname", "B"),)
RULE, OTHER = ("rule",), ("other",)


def series(kept_ms: int = 300_000) -> WrittenSeries:
    return WrittenSeries({"ALERTS": kept_ms})


def write(to: WrittenSeries, at_ms: int, *pairs: Pairs, rule: tuple[str, ...] = RULE) -> None:
    to.write(rule, at_ms, [WrittenSample("ALERTS", one, 1.0) for one in pairs])


def at(of: WrittenSeries, at_ms: int, lookback_ms: int = 300_000) -> dict[Pairs, int]:
    return {pairs: sampled_ms for pairs, sampled_ms, _ in of.at("ALERTS", at_ms, lookback_ms)}


def between(of: WrittenSeries, begin_ms: int, end_ms: int) -> dict[Pairs, list[int]]:
    return {pairs: list(samples.times_ms) for pairs, samples in of.between("ALERTS", begin_ms, end_ms)}


def test_a_sample_is_seen_until_it_is_too_old() -> None:
    made = series()
    write(made, 1000, A)

    assert [at(made, when) for when in (999, 1000, 300_999, 301_000)] == [{}, {A: 1000}, {A: 1000}, {}]


def test_a_series_that_its_rule_does_not_write_again_has_ended() -> None:
    made = series()
    write(made, 0, A, B)
    write(made, 15_000, B)
    write(made, 30_000, A, B)

    assert [at(made, when) for when in (0, 15_000, 30_000)] == [{A: 0, B: 0}, {B: 15_000}, {A: 30_000, B: 30_000}]
    assert between(made, -1, 30_000) == {A: [0, 30_000], B: [0, 15_000, 30_000]}


def test_a_rule_ends_no_series_of_another() -> None:
    made = series()
    write(made, 0, A)
    write(made, 15_000, B, rule=OTHER)

    assert at(made, 15_000) == {A: 0, B: 15_000}


def test_series_of_a_rule_that_is_gone_have_ended() -> None:
    made = series()
    write(made, 0, A)
    write(made, 0, B, rule=OTHER)
    made.end_evaluation([OTHER], 15_000)

    assert at(made, 15_000) == {B: 0}


def test_a_range_is_open_on_the_left() -> None:
    made = series()
    for when in (0, 15_000, 30_000):
        write(made, when, A)

    assert between(made, 0, 30_000) == {A: [15_000, 30_000]}
    assert between(made, 30_000, 60_000) == {}


def test_only_metrics_that_are_looked_back_at_are_kept() -> None:
    made = series()
    made.write(RULE, 0, [WrittenSample("ALERTS_FOR_STATE", A, 5.0)])

    assert list(made.at("ALERTS_FOR_STATE", 0, 300_000)) == []


def test_what_is_older_than_needed_is_dropped() -> None:
    made = series(kept_ms=60_000)
    for index in range(1000):
        write(made, index * 15_000, *([B] if index < 10 else [A]))
        made.end_evaluation([RULE], index * 15_000)

    [(_, samples)] = made.between("ALERTS", -1, 10**9)
    assert len(samples.times_ms) < 100


def test_a_series_of_which_nothing_is_kept_can_end() -> None:
    made = series(kept_ms=60_000)
    write(made, 0, A)
    write(made, 600_000, B, rule=OTHER)
    for _ in range(64):
        made.end_evaluation([RULE, OTHER], 600_000)
    write(made, 615_000)

    assert at(made, 615_000) == {B: 600_000}


def test_what_is_written_with_a_delay_also_ends_with_it() -> None:
    made = series()
    made.write(RULE, 60_000, [WrittenSample("ALERTS", A, 1.0)], 45_000)
    made.end_evaluation([], 75_000)

    assert [at(made, when) for when in (14_000, 15_000, 29_000, 30_000)] == [{}, {A: 15_000}, {A: 15_000}, {}]


def test_a_copy_goes_its_own_way() -> None:
    made = series()
    write(made, 0, A)
    other = made.copy()
    assert other == made

    write(other, 15_000)

    assert at(made, 15_000) == {A: 0}
    assert other != made


def test_nothing_is_kept_of_what_is_cleared_or_no_longer_looked_at() -> None:
    made = series()
    write(made, 0, A)
    made.keep({"ALERTS_FOR_STATE": 1})
    write(made, 15_000, A)
    assert at(made, 15_000) == {}

    made = series()
    write(made, 0, A)
    made.clear()
    write(made, 15_000)
    assert at(made, 15_000) == {}


@pytest.mark.parametrize("evaluations", [0, 1, 63, 64])
@given(written=st.lists(st.sets(st.sampled_from([A, B])), max_size=12))
def test_samples_are_those_of_the_evaluations_that_wrote_them(evaluations: int, written: list[set[Pairs]]) -> None:
    made = series()
    for _ in range(evaluations):
        made.end_evaluation([RULE], 0)
    for index, pairs in enumerate(written):
        write(made, index * 15_000, *pairs)
        made.end_evaluation([RULE], index * 15_000)

    last_ms = (len(written) - 1) * 15_000
    assert between(made, last_ms - 300_000, last_ms) == {
        one: times
        for one in (A, B)
        if (times := [index * 15_000 for index, pairs in enumerate(written) if one in pairs])
    }
    for index, pairs in enumerate(written):
        assert at(made, index * 15_000 + 7_000) == dict.fromkeys(pairs, index * 15_000)


def record(to: WrittenSeries, at_ms: int, *values: float, rule: tuple[str, ...] = RULE, delay_ms: int = 0) -> int:
    """Records a series with each of the values, and returns how many were refused."""
    return len(to.record(rule, at_ms, [WrittenSample("ALERTS", A, value) for value in values], delay_ms))


def values(of: WrittenSeries) -> dict[int, float]:
    ((_, samples),) = of.between("ALERTS", -1, 1_000_000)
    return dict(zip(samples.times_ms, samples.values, strict=True))


def test_what_has_another_value_at_the_same_time_is_not_recorded() -> None:
    made = series()

    assert record(made, 1000, 1.0) == 0
    assert record(made, 1000, 1.0, rule=OTHER) == 0
    assert record(made, 1000, 2.0, rule=OTHER) == 1
    assert record(made, 1000, -0.0, 0.0, rule=OTHER) == 2
    assert values(made) == {1000: 1.0}


def test_a_series_that_a_rule_has_ended_is_not_recorded_by_another_at_the_same_time() -> None:
    made = series()
    record(made, 0, 1.0)

    assert record(made, 15_000) == 0
    assert record(made, 15_000, 2.0, rule=OTHER) == 1
    assert record(made, 30_000, 2.0, rule=OTHER) == 0
    assert values(made) == {0: 1.0, 30_000: 2.0}


def test_what_is_older_than_the_last_sample_is_not_recorded() -> None:
    made = series()
    record(made, 60_000, 1.0)

    assert record(made, 60_000, 2.0, rule=OTHER, delay_ms=15_000) == 1
    assert values(made) == {60_000: 1.0}


def test_a_sample_that_is_refused_ends_its_series_no_earlier() -> None:
    made = series()
    record(made, 0, 1.0, rule=OTHER)
    record(made, 0, 1.0)
    record(made, 15_000, 3.0, rule=OTHER)
    record(made, 15_000, 4.0)
    record(made, 30_000, 5.0, rule=OTHER)
    record(made, 30_000)

    assert values(made) == {0: 1.0, 15_000: 3.0, 30_000: 5.0}


def test_a_nan_is_a_value_like_another() -> None:
    made = series()
    nan = float("nan")

    assert record(made, 0, nan) == 0
    assert record(made, 0, nan, rule=OTHER) == 0
    assert list(values(made)) == [0]


def test_given_samples_are_seen_up_to_their_end() -> None:
    made = series()
    made.add_input("ALERTS", A, Samples([0, 15_000, 30_000], [1.0, 2.0, ABSENT]))
    made.add_input("ALERTS", A, Samples([0, 15_000, 30_000, 45_000], [1.0, 2.0, ABSENT, 4.0]))
    made.add_input("nothing", A, Samples([0], [1.0]))

    assert [at(made, when) for when in (15_000, 30_000, 45_000)] == [{A: 15_000}, {}, {A: 45_000}]


def test_series_with_a_nan_equal_their_copy() -> None:
    made = series()
    record(made, 0, float("nan"))

    assert made == made.copy()


def test_of_one_time_a_later_evaluation_records_anew() -> None:
    made = series()
    record(made, 1000, 1.0)
    made.end_evaluation([RULE], 1000)

    assert record(made, 1000, 2.0) == 0
    assert record(made, 1000, 3.0, rule=OTHER) == 1
    assert values(made) == {1000: 2.0}

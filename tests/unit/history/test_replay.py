from __future__ import annotations

from exporter.history.replay import Gap, Gaps
from tests.support.builders import at, poll


def gaps_of(*seconds: float, since: float = 0, until: float = 600, **fields: float) -> Gaps:
    gaps = Gaps(at(since), at(until))
    for s in seconds:
        gaps.add(poll(seconds=s, **fields))
    gaps.finish()
    return gaps


def every_15_seconds(begin: float, end: float) -> list[float]:
    return [begin + 15.0 * n for n in range(int((end - begin) // 15))]


def test_polls_at_their_interval_leave_no_gap():
    assert gaps_of(*every_15_seconds(0, 600)).count == 0


def test_a_poll_that_comes_late_is_no_gap():
    assert gaps_of(*every_15_seconds(0, 300), *every_15_seconds(320, 600)).count == 0


def test_a_stretch_without_polls_is_a_gap_between_its_neighbours():
    gaps = gaps_of(*every_15_seconds(0, 150), *every_15_seconds(300, 600))

    assert gaps.longest() == (Gap(at(135), at(300)),)
    assert (gaps.count, gaps.seconds) == (1, 165)


def test_a_period_without_polls_is_one_gap():
    assert gaps_of().longest() == (Gap(at(0), at(600)),)


def test_what_is_missing_at_the_beginning_and_the_end_counts():
    gaps = gaps_of(*every_15_seconds(100, 400))

    assert gaps.longest() == (Gap(at(0), at(100)), Gap(at(385), at(600)))


def test_only_the_part_within_the_period_counts():
    assert gaps_of(-300, *every_15_seconds(60, 600)).longest() == (Gap(at(0), at(60)),)


def test_what_ended_before_the_period_does_not_count():
    assert gaps_of(-900, *every_15_seconds(-300, 600)).count == 0


def test_a_stretched_interval_is_no_gap():
    assert gaps_of(0, 120, 240, 360, 480, interval_seconds=120.0).count == 0


def test_of_many_gaps_the_longest_are_kept_and_all_counted():
    times = [100.0 * n + n for n in range(500)]

    gaps = gaps_of(*times, 60_000, until=60_001)

    assert gaps.count == 500
    assert len(gaps.longest()) <= 200
    assert max(gap.seconds for gap in gaps.longest()) == 60_000 - times[-1]

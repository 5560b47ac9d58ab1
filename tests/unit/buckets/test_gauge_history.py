"""What is kept of the gauges that rules look back at."""

from __future__ import annotations

import math
import pickle
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from exporter.buckets.gauge_history import GaugeHistory, Samples, milliseconds, most_bytes
from exporter.buckets.observation import PARTICIPANT_REMOVED, view_after
from tests.support.builders import POLICY, at, bucket, counts, failed, poll, read, view

if TYPE_CHECKING:
    from exporter.buckets.observation import Poll, View

TOKENS, UP, INFO = "dict_rate_limit_available_tokens", "dict_rate_limit_up", "dict_rate_limit_participant_info"
FIVE_MINUTES_MS = 300_000
DAY_MS = 86_400_000


def ms(seconds: float) -> int:
    return milliseconds(at(seconds))


def history(*polls: Poll, kept_ms: int = DAY_MS) -> GaugeHistory:
    made = GaugeHistory(dict.fromkeys((TOKENS, UP, INFO), kept_ms))
    seen: View | None = None
    for one in polls:
        seen = view_after(seen, one)
        made.add(seen)
    return made


def samples(made: GaugeHistory, gauge: str, begin: float, end: float) -> dict[tuple[str, ...], list[tuple[int, float]]]:
    return {
        subject: list(zip(times_ms, values, strict=True))
        for subject, (times_ms, values, _) in made.between(gauge, ms(begin), ms(end))
    }


def seen(made: GaugeHistory, gauge: str, seconds: float) -> dict[tuple[str, ...], float]:
    return dict(made.at(gauge, ms(seconds), FIVE_MINUTES_MS))


def test_a_range_is_open_on_the_left() -> None:
    made = history(*(poll(bucket(100 - index), seconds=15 * index) for index in range(4)))

    assert samples(made, TOKENS, 0, 30) == {("ENTRIES_WRITE",): [(ms(15), 99), (ms(30), 98)]}
    assert samples(made, UP, 30, 99) == {(): [(ms(45), 1)]}
    assert samples(made, INFO, -1, 0) == {("A",): [(ms(0), 1)]}
    assert samples(made, TOKENS, 45, 99) == {}


def test_an_instant_sees_the_last_sample_unless_it_is_five_minutes_old() -> None:
    made = history(poll(bucket(1)), poll(bucket(2), seconds=15))

    assert seen(made, TOKENS, -0.001) == {}
    assert seen(made, TOKENS, 14.999) == {("ENTRIES_WRITE",): 1}
    assert seen(made, TOKENS, 314.999) == {("ENTRIES_WRITE",): 2}
    assert seen(made, TOKENS, 315) == {}


def test_what_was_not_shown_has_no_sample() -> None:
    polls = [
        poll(bucket(1, policy="A"), bucket(5, policy="B")),
        failed(15, staleness_seconds=15.0),
        poll(bucket(2, policy="A"), seconds=30),
    ]
    made = history(*polls)

    assert samples(made, TOKENS, -1, 30) == {("A",): [(ms(0), 1), (ms(30), 2)], ("B",): [(ms(0), 5)]}
    assert samples(made, UP, -1, 30) == {(): [(ms(0), 1), (ms(15), 0), (ms(30), 1)]}
    assert seen(made, TOKENS, 29) == {}
    assert seen(made, TOKENS, 30) == {("A",): 2}


def test_a_poll_that_failed_shows_what_was_known() -> None:
    made = history(poll(bucket(7)), failed(15))

    assert samples(made, TOKENS, 0, 15) == {("ENTRIES_WRITE",): [(ms(15), 7)]}


def test_a_read_is_a_sample_where_it_shows_something_new() -> None:
    made = history(
        poll(bucket(1, policy="A"), bucket(2, policy="B")),
        read(bucket(3, policy="B"), seconds=5, sequence=2),
        read(bucket(3, policy="B"), seconds=6, sequence=3),
    )

    assert samples(made, TOKENS, 0, 9) == {("A",): [(ms(5), 1)], ("B",): [(ms(5), 3)]}


def test_a_poll_that_is_no_later_changes_nothing_and_one_of_the_same_millisecond_replaces() -> None:
    made = history(poll(bucket(1)), poll(bucket(2), seconds=15))
    before = made.copy()

    made.add(view(poll(bucket(9), seconds=14)))
    assert made == before
    made.add(view(poll(bucket(3), seconds=15.0001)))
    assert samples(made, TOKENS, 0, 15) == {("ENTRIES_WRITE",): [(ms(15), 3)]}


def test_what_was_before_a_participant_was_removed_is_forgotten() -> None:
    made = history(poll(bucket(1)), failed(15, code=PARTICIPANT_REMOVED), poll(bucket(2), seconds=30))

    assert samples(made, TOKENS, -1, 30) == {("ENTRIES_WRITE",): [(ms(30), 2)]}
    assert samples(made, UP, -1, 30) == {(): [(ms(30), 1)]}


def test_an_earlier_state_is_kept_as_a_copy() -> None:
    made = history(poll(bucket(1)))
    before = made.copy()

    made.add(view(poll(bucket(2), seconds=15)))

    assert samples(before, TOKENS, -1, 15) == {("ENTRIES_WRITE",): [(ms(0), 1)]}
    assert before != made
    assert pickle.loads(pickle.dumps(made)) == made


def test_only_what_is_asked_for_is_kept() -> None:
    made = history(poll())

    made.keep({UP: DAY_MS})

    assert samples(made, TOKENS, -1, 0) == {}
    assert samples(made, UP, -1, 0) == {(): [(ms(0), 1)]}
    assert made.size_bytes == 16


def test_what_is_older_than_what_is_kept_is_not_seen_though_it_is_still_there() -> None:
    made = history(*(poll(bucket(100 - index), seconds=15 * index) for index in range(9)), kept_ms=60_000)

    assert made.times == 9
    assert [value for _, value in samples(made, TOKENS, -1, 120)[("ENTRIES_WRITE",)]] == [95, 94, 93, 92]
    assert seen(made, TOKENS, 60) == {}
    assert seen(made, TOKENS, 75) == {("ENTRIES_WRITE",): 95}


def test_memory_is_bounded_by_what_is_kept() -> None:
    made = GaugeHistory({UP: 60_000, TOKENS: 600_000})
    for index in range(5_000):
        made.add(view(poll(bucket(index), seconds=15 * index)))

    assert made.size_bytes <= most_bytes(made.kept_ms, 4, policies=1)
    assert len(samples(made, TOKENS, 15 * 4_999 - 600, 15 * 4_999)[("ENTRIES_WRITE",)]) == 40


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0004, 1, 15, 40, 300]),
        st.one_of(
            st.none(), st.dictionaries(st.sampled_from("ABC"), st.sampled_from([float("nan"), 1, 2, 3]), min_size=1)
        ),
    ),
    max_size=150,
)


@given(STEPS, st.sampled_from([1_000, 60_000, 600_000]), st.data())
def test_it_holds_what_a_list_of_all_samples_would(
    steps: list[tuple[float, dict[str, float] | None]], kept_ms: int, data: st.DataObject
) -> None:
    made = GaugeHistory({TOKENS: kept_ms, UP: 2 * kept_ms})
    model: dict[int, dict[str, float]] = {}
    seconds = 0.0
    for passed, levels in steps:
        seconds += passed
        buckets = [bucket(level, policy=name) for name, level in (levels or {}).items()]
        made.add(view(poll(*buckets, seconds=seconds) if buckets else failed(seconds)))
        model[ms(seconds)] = levels or {}
    end = data.draw(st.integers(ms(seconds) - kept_ms, ms(seconds)))
    begin = data.draw(st.integers(ms(seconds) - kept_ms, end))

    latest = max(model, default=0)
    model = {time_ms: levels for time_ms, levels in model.items() if time_ms > latest - kept_ms}
    expected: dict[tuple[str, ...], list[tuple[int, str]]] = {}
    for time_ms, levels in model.items():
        for name, level in levels.items() if begin < time_ms <= end else ():
            expected.setdefault((name,), []).append((time_ms, repr(float(level))))
    got = {
        subject: [(time_ms, repr(value)) for time_ms, value in zip(times_ms, values, strict=True)]
        for subject, (times_ms, values, _) in made.between(TOKENS, begin, end)
    }
    assert got == expected
    assert all(bounds_hold(samples) for _, samples in made.between(TOKENS, begin, end))
    last = max((time_ms for time_ms in model if time_ms <= end), default=None)
    now = {} if last is None or end - last >= FIVE_MINUTES_MS else model[last]
    assert {subject: repr(value) for subject, value in made.at(TOKENS, end, FIVE_MINUTES_MS)} == {
        (name,): repr(float(level)) for name, level in now.items()
    }


def bounds_hold(samples: Samples) -> bool:
    """Whether what is said of the magnitudes of samples is so."""
    if samples.magnitudes is None:
        return True
    least, greatest = samples.magnitudes
    if any(map(math.isnan, samples.values)):
        return math.isnan(greatest)
    return math.isnan(greatest) or all(value == 0 or least <= abs(value) <= greatest for value in samples.values)


def test_the_bounds_of_what_a_series_has_had_are_known_and_kept_in_a_copy() -> None:
    made = GaugeHistory({TOKENS: DAY_MS})
    for index, tokens in enumerate((0, 7, -20, 3)):
        made.add(view(poll(bucket(tokens), seconds=15.0 * index)))

    for history in (made, made.copy()):
        [(_, samples)] = history.between(TOKENS, ms(0) - 1, ms(60))
        assert samples.magnitudes == (3, 20)
    gone = GaugeHistory({TOKENS: DAY_MS})
    for index, tokens in enumerate((5, None, 6)):
        buckets = [bucket(policy="OTHER")] if tokens is None else [bucket(tokens), bucket(policy="OTHER")]
        gone.add(view(poll(*buckets, seconds=15.0 * index, sequence=1)))
    samples = dict(gone.between(TOKENS, ms(0) - 1, ms(60)))[POLICY,]
    assert samples.magnitudes is None


RESPONSES = "dict_rate_limit_responses_total"


def test_the_bridges_counts_have_a_series_of_each_outcome() -> None:
    made = GaugeHistory({RESPONSES: DAY_MS})
    for index, refused in enumerate((0, 3)):
        made.add(view(poll(bucket(response_counts=counts(100, 5, refused)), seconds=15 * index)))
    made.add(view(poll(bucket(), seconds=30)))

    assert samples(made, RESPONSES, -1, 30) == {
        ("ENTRIES_WRITE", "ok"): [(ms(0), 95), (ms(15), 92)],
        ("ENTRIES_WRITE", "not_found"): [(ms(0), 5), (ms(15), 5)],
        ("ENTRIES_WRITE", "rate_limited"): [(ms(0), 0), (ms(15), 3)],
    }
    assert seen(made, RESPONSES, 30) == {}


def test_memory_for_the_bridges_counts_is_that_of_three_series_of_each_bucket() -> None:
    of_gauge, of_counts = (most_bytes({name: DAY_MS}, 4, 10) for name in (TOKENS, RESPONSES))

    times = most_bytes({UP: DAY_MS}, 4, 10) // 2
    assert abs((of_counts - times) - 3 * (of_gauge - times)) <= 24

"""What proves how buckets refill, and where in the period the steps lie."""

from __future__ import annotations

import itertools
import math

import pytest

from exporter.buckets.refill import Phase, RefillEvidence, RefillMode, proof
from tests.support.builders import bucket

ANTISCAN = {"policy": "ENTRIES_READ_PARTICIPANT_ANTISCAN"}


def evidence() -> RefillEvidence:
    return RefillEvidence(Phase(60.0))


def proofs(*observations: tuple[float, int], known: RefillEvidence | None = None, **given) -> list[RefillMode | None]:
    """Returns what each pair of these observations ``(seconds, tokens)`` proves: of 1,200 tokens a minute."""
    known = known or evidence()
    return [
        proof(known, bucket(later[1], **given), earlier, later) for earlier, later in itertools.pairwise(observations)
    ]


def test_a_rise_that_continuous_refill_cannot_explain_proves_steps() -> None:
    most = 20 * (15 + 1) + 1  # one second of tolerance, and a token of rounding

    assert proofs((0, 10_000), (15, 10_000 + most)) == [None]
    assert proofs((0, 10_000), (15, 10_000 + most + 1)) == [RefillMode.STEPWISE]


def test_two_rises_closer_than_two_steps_prove_continuous_refill() -> None:
    assert proofs((0, 10_000), (15, 10_300), (30, 10_600)) == [None, RefillMode.CONTINUOUS]
    assert proofs((0, 10_000), (15, 10_300), (58.9, 10_301)) == [None, RefillMode.CONTINUOUS]
    assert proofs((0, 10_000), (15, 10_300), (59, 10_301)) == [None, None]


def test_rises_before_and_after_a_proven_step_prove_nothing_together() -> None:
    assert proofs((0, 10_000), (10, 10_100), (20, 11_300), (30, 11_350)) == [None, RefillMode.STEPWISE, None]


def test_a_rise_shows_where_in_the_period_the_step_lies() -> None:
    known = evidence()
    assert not known.phase.is_narrow

    proofs((0, 10_000), (15, 11_200), known=known)

    assert known.phase.is_narrow
    assert (known.phase.after, known.phase.up_to) == (0, 15)


def test_a_rise_of_two_refills_shows_where_the_first_step_lies() -> None:
    known = evidence()

    proofs((0, 10_000), (70, 12_400), known=known)

    assert (known.phase.after, known.phase.up_to) == (0, 10)


def test_a_rise_over_a_period_or_longer_shows_no_step() -> None:
    known = evidence()

    proofs((0, 10_000), (60, 11_200), known=known)

    assert not known.phase.is_narrow


def test_rises_of_later_periods_narrow_the_phase() -> None:
    phase = Phase(60.0, 0.0, 15.0)

    phase.narrow(50, 65)

    assert (phase.after, phase.up_to) == (60, 65)


def test_a_phase_is_narrowed_however_many_periods_lie_between() -> None:
    phase = Phase(60.0, 160.0, 175.0)

    phase.narrow(30, 45)

    assert (phase.after, phase.up_to) == (40, 45)


def test_a_rise_that_contradicts_the_phase_takes_its_place() -> None:
    phase = Phase(60.0, 0.0, 15.0)

    phase.narrow(30, 45)

    assert (phase.after, phase.up_to) == (30, 45)


def test_steps_are_counted_from_the_middle_of_the_phase_and_surely_from_its_end() -> None:
    phase = Phase(60.0, 0.0, 20.0)

    assert [phase.steps_before(at) for at in (9.9, 10, 69.9, 70)] == [-1, 0, 0, 1]
    assert [phase.steps_surely_before(at) for at in (19.9, 20, 79.9, 80)] == [-1, 0, 0, 1]


def test_what_payment_orders_give_back_proves_nothing_and_half_a_refill_shows_a_step() -> None:
    known = evidence()

    assert proofs((0, 10_000), (15, 10_600), known=known, **ANTISCAN) == [None]
    assert not known.phase.is_narrow
    assert proofs((15, 10_600), (30, 11_201), known=known, **ANTISCAN) == [None]
    assert (known.phase.after, known.phase.up_to) == (15, 30)


def test_the_token_that_a_poll_takes_of_its_own_policy_is_known_consumption() -> None:
    own = {"policy": "POLICIES_LIST", "capacity": 20, "refill_tokens": 6}

    # Two tokens less than a refill of 6 a minute: with the poll's own each is a rise of one.
    assert proofs((0, 10), (15, 10), (30, 10), **own) == [None, RefillMode.CONTINUOUS]
    assert proofs((0, 10), (15, 9), (30, 8), **own) == [None, None]
    # A full bucket does not say what overflowed.
    assert proofs((0, 20), (15, 20), (30, 20), **own) == [None, None]


def about_a_minute_apart(tokens_after: list[float]) -> list[tuple[float, int]]:
    """Observations 57 and 63 s apart in turn, with so many tokens gained between them."""
    observations = [(0.0, 20_000)]
    for n, gained in enumerate(tokens_after):
        seconds, tokens = observations[-1]
        observations.append((seconds + (57 if n % 2 == 0 else 63), tokens + round(gained)))
    return observations


STEADY_IF_CONTINUOUS = [20 * elapsed - 25 * elapsed for elapsed in (57, 63, 57, 63, 57)]
STEADY_IF_STEPWISE = [1200 - 25 * elapsed for elapsed in (57, 63, 57, 63, 57)]


def test_about_whole_periods_apart_consumption_that_is_steady_under_one_assumption_proves_it() -> None:
    assert proofs(*about_a_minute_apart(STEADY_IF_CONTINUOUS)) == [None] * 4 + [RefillMode.CONTINUOUS]
    assert proofs(*about_a_minute_apart(STEADY_IF_STEPWISE)) == [None] * 4 + [RefillMode.STEPWISE]


def test_a_proven_step_starts_the_comparison_anew() -> None:
    observations = about_a_minute_apart(STEADY_IF_CONTINUOUS)
    seconds, tokens = observations[-2]
    step = (seconds + 10, tokens + 1_200)

    found = proofs(*observations[:-1], step, (step[0] + 57, step[1] - 5 * 57))

    assert found == [None] * 4 + [RefillMode.STEPWISE, None]


def compared_with_reads(*observations: tuple[float, int], reads: list[int | None]) -> list[RefillMode | None]:
    """Returns what polls prove; in the middle of each pair so many tokens are read (None: nothing is)."""
    known, found = evidence(), []
    for (earlier, later), tokens in zip(itertools.pairwise(observations), reads, strict=True):
        last = earlier
        if tokens is not None:
            last = ((earlier[0] + later[0]) / 2, tokens)
            proof(known, bucket(tokens), earlier, last, is_read=True)
        found.append(proof(known, bucket(later[1]), last, later))
    return found


def test_reads_between_polls_do_not_count_in_the_comparison() -> None:
    polls = about_a_minute_apart(STEADY_IF_CONTINUOUS)
    reads = [(earlier[1] + later[1]) // 2 for earlier, later in itertools.pairwise(polls)]

    assert compared_with_reads(*polls, reads=reads) == [None] * 4 + [RefillMode.CONTINUOUS]


def test_polls_between_which_a_read_found_the_bucket_dry_are_not_compared() -> None:
    polls = about_a_minute_apart([0] * 5)

    assert compared_with_reads(*((at, 100) for at, _ in polls), reads=[0] * 5) == [None] * 5


def test_polls_between_which_a_read_proved_a_step_are_not_compared() -> None:
    polls = about_a_minute_apart(STEADY_IF_CONTINUOUS)

    assert compared_with_reads(*polls, reads=[polls[0][1] + 1_300, None, None, None, None]) == [None] * 5


def test_two_periods_apart_two_steps_are_compared() -> None:
    observations, seconds, tokens = [(0, 20_000)], 0, 20_000
    for elapsed in (115, 125, 115, 125, 115):
        seconds, tokens = seconds + elapsed, tokens + 2_400 - 25 * elapsed
        observations.append((seconds, tokens))

    assert proofs(*observations) == [None] * 4 + [RefillMode.STEPWISE]


def test_consumption_that_is_not_steady_under_either_assumption_proves_nothing() -> None:
    assert proofs(*about_a_minute_apart([-285, -900, -10, -700, -300])) == [None] * 5


@pytest.mark.parametrize(
    ("earlier", "later", "counts"),
    [
        ((0, 20_000), (60, 19_000), True),
        ((0, 100), (60, 0), False),
        ((0, 0), (60, 0), False),
        ((0, 1), (60, 1), True),
        ((0, 33_600), (60, 33_000), True),
        ((0, 33_601), (60, 33_000), False),
        ((0, 20_000), (65.9, 19_000), True),
        ((0, 20_000), (66, 19_000), False),
        ((0, 20_000), (54, 19_000), False),
        ((0, 32_400), (120, 19_000), True),
        ((0, 32_401), (120, 19_000), False),
        ((0, 20_000), (3, 19_900), False),
    ],
)
def test_a_pair_of_which_consumption_is_not_known_starts_the_comparison_anew(earlier, later, counts) -> None:
    known = evidence()
    proofs(*about_a_minute_apart(STEADY_IF_CONTINUOUS[:3]), known=known)

    proofs(earlier, later, known=known)

    assert len(known.rates) == (4 if counts else 0)


def test_nothing_is_known_of_a_phase_at_first() -> None:
    assert (Phase(60.0).after, Phase(60.0).up_to) == (0.0, math.inf)

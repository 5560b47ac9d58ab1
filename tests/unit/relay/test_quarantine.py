"""An event is refused only where the broker took another one meanwhile, and not too many are quarantined at once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.relay.quarantine import LONGEST_PATIENCE_SECONDS, PATIENCE_SECONDS, Suspects
from tests.support.builders import outbox_row

A, B, C = (outbox_row(number) for number in (1, 2, 3))


def quarantine_of(row, **given: int) -> Suspects:
    """A quarantine that holds ``row``."""
    suspects = Suspects(**given)
    assert [suspects.stalled(row) for _ in range(2)] == [False, True]
    return suspects


def test_an_event_is_quarantined_at_its_second_send_without_receipt() -> None:
    suspects = Suspects()

    assert not suspects.stalled(A)
    assert suspects.held == {}
    assert suspects.stalled(A)
    assert suspects.held == {A.fingerprint: A}


def test_sends_without_receipt_of_different_events_quarantine_none() -> None:
    suspects = Suspects()

    assert not suspects.stalled(A)
    assert not suspects.stalled(B)
    assert suspects.held == {}


def test_a_receipt_in_between_begins_the_count_again() -> None:
    suspects = Suspects()
    suspects.stalled(A)

    assert suspects.taken(A) == []
    assert not suspects.stalled(A)


def test_a_quarantined_event_is_refused_when_the_broker_takes_another_and_is_quarantined_no_more() -> None:
    suspects = quarantine_of(A)

    assert suspects.taken(B) == [A]
    assert suspects.held == {}


def test_an_event_is_refused_once_for_one_quarantine() -> None:
    suspects = quarantine_of(A)
    suspects.taken(B)

    assert suspects.taken(C) == []


def test_an_event_that_was_refused_is_quarantined_at_its_next_send_without_receipt() -> None:
    suspects = quarantine_of(A)
    suspects.taken(B)

    assert suspects.stalled(A)
    assert suspects.taken(C) == [A]


def test_an_event_that_was_refused_and_then_taken_begins_its_count_again() -> None:
    suspects = quarantine_of(A)
    suspects.taken(B)
    suspects.taken(A)

    assert not suspects.stalled(A)


def test_a_quarantined_event_that_is_taken_after_all_begins_its_count_again() -> None:
    suspects = quarantine_of(A)

    assert suspects.taken(A) == []

    assert suspects.held == {}
    assert not suspects.stalled(A)


def test_several_events_are_quarantined_and_refused_when_the_broker_takes_another() -> None:
    suspects = quarantine_of(A)

    assert [suspects.stalled(B) for _ in range(2)] == [False, True]

    assert suspects.held == {A.fingerprint: A, B.fingerprint: B}
    assert suspects.taken(C) == [A, B]


def test_a_broker_that_takes_none_refuses_none() -> None:
    suspects = quarantine_of(A, most_held=1)

    assert not suspects.stalled(B)
    assert not suspects.stalled(B)

    assert suspects.held == {}
    assert suspects.taken(C) == []


def test_after_a_broker_took_none_every_count_begins_again() -> None:
    suspects = quarantine_of(A, most_held=1)
    suspects.stalled(B)
    suspects.stalled(B)

    assert not suspects.stalled(A)
    assert not suspects.stalled(B)


def test_what_is_cleared_is_neither_quarantined_nor_counted() -> None:
    suspects = quarantine_of(A)

    suspects.clear()

    assert suspects.taken(B) == []
    assert not suspects.stalled(A)


def test_a_receipt_is_waited_for_twice_as_long_each_time_up_to_a_limit() -> None:
    suspects = Suspects()
    patience = [suspects.patience_seconds(A)]
    for stalls in range(1, 8):
        suspects._stalls[A.id] = stalls
        patience.append(suspects.patience_seconds(A))

    assert patience == [10, 20, 40, 80, 160, 300, 300, 300]
    assert (patience[0], patience[-1]) == (PATIENCE_SECONDS, LONGEST_PATIENCE_SECONDS)


@pytest.mark.parametrize(("refusals", "seconds"), [(0, 10), (1, 20), (2, 20)])
def test_the_receipt_of_an_event_that_was_refused_is_waited_for_longer(refusals: int, seconds: float) -> None:
    suspects = Suspects()
    for _ in range(refusals):
        while not suspects.stalled(A):
            pass
        suspects.taken(B)

    assert suspects.patience_seconds(A) == seconds
    assert suspects.patience_seconds(B) == 10


@given(
    st.lists(st.tuples(st.sampled_from(["stalled", "taken", "clear"]), st.sampled_from([A, B, C])), max_size=40),
    st.integers(1, 3),
)
def test_only_quarantined_events_are_refused_and_by_another_that_was_taken(steps, most_held: int) -> None:
    suspects, without_receipt = Suspects(most_held), Counter()
    for step, row in steps:
        held = list(suspects.held.values())
        if step == "stalled":
            without_receipt[row.id] += 1
            if suspects.stalled(row):
                assert suspects.held == {suspect.fingerprint: suspect for suspect in [*held, row]}
        elif step == "taken":
            refused = suspects.taken(row)
            assert refused == [suspect for suspect in held if suspect is not row]
            assert all(without_receipt.pop(suspect.id) for suspect in refused)
            assert not suspects.held
        else:
            suspects.clear()
        assert len(suspects.held) <= most_held

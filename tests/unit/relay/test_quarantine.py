"""An event is refused only where the broker took another one meanwhile, and not too many are quarantined at once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.relay.quarantine import LONGEST_TIMEOUT_SECONDS, Quarantine
from tests.support.builders import outbox_row

A, B, C = (outbox_row(number) for number in (1, 2, 3))


def quarantine_of(row, **given: int) -> Quarantine:
    """A quarantine that holds ``row``."""
    quarantine = Quarantine(**given)
    assert [quarantine.note_no_receipt(row) for _ in range(2)] == [False, True]
    return quarantine


def test_an_event_is_quarantined_at_its_second_send_without_receipt() -> None:
    quarantine = Quarantine()

    assert not quarantine.note_no_receipt(A)
    assert quarantine.rows == {}
    assert quarantine.note_no_receipt(A)
    assert quarantine.rows == {A.fingerprint: A}


def test_sends_without_receipt_of_different_events_quarantine_none() -> None:
    quarantine = Quarantine()

    assert not quarantine.note_no_receipt(A)
    assert not quarantine.note_no_receipt(B)
    assert quarantine.rows == {}


def test_a_receipt_in_between_begins_the_count_again() -> None:
    quarantine = Quarantine()
    quarantine.note_no_receipt(A)

    assert quarantine.note_receipt(A) == []
    assert not quarantine.note_no_receipt(A)


def test_a_quarantined_event_is_refused_when_the_broker_takes_another_and_is_quarantined_no_more() -> None:
    quarantine = quarantine_of(A)

    assert quarantine.note_receipt(B) == [A]
    assert quarantine.rows == {}


def test_an_event_is_refused_once_for_one_quarantine() -> None:
    quarantine = quarantine_of(A)
    quarantine.note_receipt(B)

    assert quarantine.note_receipt(C) == []


def test_an_event_that_was_refused_is_quarantined_at_its_next_send_without_receipt() -> None:
    quarantine = quarantine_of(A)
    quarantine.note_receipt(B)

    assert quarantine.note_no_receipt(A)
    assert quarantine.note_receipt(C) == [A]


def test_an_event_that_was_refused_and_then_taken_begins_its_count_again() -> None:
    quarantine = quarantine_of(A)
    quarantine.note_receipt(B)
    quarantine.note_receipt(A)

    assert not quarantine.note_no_receipt(A)


def test_a_quarantined_event_that_is_taken_after_all_begins_its_count_again() -> None:
    quarantine = quarantine_of(A)

    assert quarantine.note_receipt(A) == []

    assert quarantine.rows == {}
    assert not quarantine.note_no_receipt(A)


def test_several_events_are_quarantined_and_refused_when_the_broker_takes_another() -> None:
    quarantine = quarantine_of(A)

    assert [quarantine.note_no_receipt(B) for _ in range(2)] == [False, True]

    assert quarantine.rows == {A.fingerprint: A, B.fingerprint: B}
    assert quarantine.note_receipt(C) == [A, B]


def test_a_broker_that_takes_none_refuses_none() -> None:
    quarantine = quarantine_of(A, most=1)

    assert not quarantine.note_no_receipt(B)
    assert not quarantine.note_no_receipt(B)

    assert quarantine.rows == {}
    assert quarantine.note_receipt(C) == []


def test_after_a_broker_took_none_every_count_begins_again() -> None:
    quarantine = quarantine_of(A, most=1)
    quarantine.note_no_receipt(B)
    quarantine.note_no_receipt(B)

    assert not quarantine.note_no_receipt(A)
    assert not quarantine.note_no_receipt(B)


def test_what_is_cleared_is_neither_quarantined_nor_counted() -> None:
    quarantine = quarantine_of(A)

    quarantine.clear()

    assert quarantine.note_receipt(B) == []
    assert not quarantine.note_no_receipt(A)


def test_a_receipt_is_waited_for_twice_as_long_each_time_up_to_a_limit() -> None:
    quarantine = Quarantine()
    timeouts = [quarantine.timeout_seconds(A)]
    for stalls in range(1, 8):
        quarantine._failed_sends[A.id] = stalls
        timeouts.append(quarantine.timeout_seconds(A))

    assert timeouts == [10, 20, 40, 80, 160, 300, 300, 300]
    assert (timeouts[0], timeouts[-1]) == (10, LONGEST_TIMEOUT_SECONDS)


@pytest.mark.parametrize(("refusals", "seconds"), [(0, 10), (1, 20), (2, 20)])
def test_the_receipt_of_an_event_that_was_refused_is_waited_for_longer(refusals: int, seconds: float) -> None:
    quarantine = Quarantine()
    for _ in range(refusals):
        while not quarantine.note_no_receipt(A):
            pass
        quarantine.note_receipt(B)

    assert quarantine.timeout_seconds(A) == seconds
    assert quarantine.timeout_seconds(B) == 10


@given(
    st.lists(st.tuples(st.sampled_from(["no receipt", "receipt", "clear"]), st.sampled_from([A, B, C])), max_size=40),
    st.integers(1, 3),
)
def test_only_quarantined_events_are_refused_and_by_another_that_was_taken(steps, most: int) -> None:
    quarantine, without_receipt = Quarantine(most=most), Counter()
    for step, row in steps:
        before = list(quarantine.rows.values())
        if step == "no receipt":
            without_receipt[row.id] += 1
            if quarantine.note_no_receipt(row):
                assert quarantine.rows == {other.fingerprint: other for other in [*before, row]}
        elif step == "receipt":
            refused = quarantine.note_receipt(row)
            assert refused == [other for other in before if other is not row]
            assert all(without_receipt.pop(other.id) for other in refused)
            assert not quarantine.rows
        else:
            quarantine.clear()
        assert len(quarantine.rows) <= most

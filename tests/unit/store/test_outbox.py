from __future__ import annotations

import pytest

from exporter.store.outbox import Outcome, Refused

REFUSED = Refused(3, "too big", dead=True)


@pytest.mark.parametrize("outcome", [Outcome(published=[1]), Outcome(refused=[REFUSED]), Outcome(unsent=[2])])
def test_an_outcome_of_anything_is_to_be_committed(outcome: Outcome) -> None:
    assert outcome


def test_an_outcome_of_nothing_is_not_committed() -> None:
    assert not Outcome()


def test_outcomes_are_joined_in_order_and_stay_as_they_are() -> None:
    earlier, later = Outcome([1], [REFUSED], [4]), Outcome([2], [Refused(5, "late", dead=False)], [6])

    joined = earlier + later

    assert joined == Outcome([1, 2], [REFUSED, Refused(5, "late", dead=False)], [4, 6])
    assert earlier == Outcome([1], [REFUSED], [4])
    assert later == Outcome([2], [Refused(5, "late", dead=False)], [6])

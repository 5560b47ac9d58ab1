from __future__ import annotations

import pytest

from exporter.store.outbox import DeliveryResults, Refused

REFUSED = Refused(3, "too big", dead=True)


@pytest.mark.parametrize(
    "outcome", [DeliveryResults(published=[1]), DeliveryResults(refused=[REFUSED]), DeliveryResults(unsent=[2])]
)
def test_an_outcome_of_anything_is_to_be_committed(outcome: DeliveryResults) -> None:
    assert outcome


def test_an_outcome_of_nothing_is_not_committed() -> None:
    assert not DeliveryResults()


def test_outcomes_are_joined_in_order_and_stay_as_they_are() -> None:
    earlier, later = DeliveryResults([1], [REFUSED], [4]), DeliveryResults([2], [Refused(5, "late", dead=False)], [6])

    joined = earlier + later

    assert joined == DeliveryResults([1, 2], [REFUSED, Refused(5, "late", dead=False)], [4, 6])
    assert earlier == DeliveryResults([1], [REFUSED], [4])
    assert later == DeliveryResults([2], [Refused(5, "late", dead=False)], [6])

"""What happened to a bucket while an alert was open."""

from __future__ import annotations

from exporter.store.alerts_to_notify import SpanSummary
from tests.support.builders import at


def test_two_spans_in_succession_are_one() -> None:
    earlier, later = SpanSummary(7, 2, at(0)), SpanSummary(9, 3, at(15))

    assert earlier.with_later(later) == SpanSummary(7, 5, at(15))
    assert earlier.with_later(SpanSummary(3, None, at(15))) == SpanSummary(3, 2, at(15))
    assert SpanSummary(3, None, at(0)).with_later(SpanSummary(3, None, at(15))).refused_calls is None

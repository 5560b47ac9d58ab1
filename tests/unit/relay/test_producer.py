from __future__ import annotations

from datetime import datetime, timedelta, timezone

from exporter.relay.producer import properties
from tests.support.builders import PARTICIPANT, POLICY, outbox_row


def test_a_message_names_its_event_as_cloudevents_do() -> None:
    row = outbox_row(7, sequence_id=42)

    assert properties(row, None) == {
        "ce_specversion": "1.0",
        "ce_id": "00000000-0000-0000-0000-000000000007",
        "ce_source": "dict-rate-limit",
        "ce_type": "dict.rate_limit.alert.firing",
        "ce_time": "2026-03-10T12:00:00+00:00",
        "ce_subject": f"{PARTICIPANT}/{POLICY}/TokensLow",
        "ce_datacontenttype": "application/json",
        "ce_partitionkey": "f7",
        "ce_sequence": "00000000000000000042",
    }


def test_a_message_carries_the_trace_where_there_is_one() -> None:
    assert properties(outbox_row(), "00-a-b-01")["traceparent"] == "00-a-b-01"


def test_the_time_of_an_event_is_told_in_utc() -> None:
    brasilia = datetime(2026, 3, 10, 9, 0, tzinfo=timezone(timedelta(hours=-3)))

    assert properties(outbox_row(event_time=brasilia), None)["ce_time"] == "2026-03-10T12:00:00+00:00"


def test_sequences_sort_as_text_as_they_do_as_numbers() -> None:
    numbers = [0, 9, 10, 99, 100, 2**63 - 1]

    told = [properties(outbox_row(sequence_id=number), None)["ce_sequence"] for number in numbers]

    assert told == sorted(told)
    assert len({len(sequence) for sequence in told}) == 1

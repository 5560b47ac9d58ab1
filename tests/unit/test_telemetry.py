"""Which messages that come again and again are told."""

from __future__ import annotations

from exporter.telemetry import Reminder
from tests.support.clocks import Clock


def test_a_message_is_told_when_it_is_new_and_again_after_its_time() -> None:
    clock = Clock()
    reminder = Reminder(every_seconds=60, monotonic=clock)
    told = []

    for clock.seconds in range(0, 180, 20):
        told.append((clock.seconds, reminder.is_due("away")))

    assert [seconds for seconds, due in told if due] == [0, 60, 120]


def test_another_message_is_told_at_once() -> None:
    reminder = Reminder(monotonic=Clock())

    assert [reminder.is_due(message) for message in ("away", "away", "denied", "denied", "away")] == [
        True,
        False,
        True,
        False,
        True,
    ]

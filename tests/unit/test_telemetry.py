"""Which messages that come again and again are told."""

from __future__ import annotations

from exporter.errors import DatabaseUnavailable
from exporter.telemetry import Outage, Reminder
from tests.support.logs import logged


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


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


def test_an_outage_is_told_when_it_begins_once_a_minute_and_when_it_is_over(caplog) -> None:
    caplog.set_level("INFO", "exporter.telemetry")
    clock = Clock()
    outage = Outage("database", fields=lambda: {"polls_waiting": 7}, monotonic=clock)

    for clock.seconds in range(0, 180, 2):
        for reason in ("connection refused", "it does not answer"):  # of parts that notice it each for itself
            outage.noticed(DatabaseUnavailable(reason))
    clock.seconds = 185
    over = [outage.over(), outage.over()]

    assert over == [True, False]
    assert logged(caplog, "levelname", "error", "for_seconds", "after_seconds") == [
        ("database unusable", "ERROR", "connection refused", "", ""),
        ("database still unusable", "ERROR", "connection refused", 60, ""),
        ("database still unusable", "ERROR", "connection refused", 120, ""),
        ("database usable again", "INFO", "", "", 185),
    ]
    assert {record.polls_waiting for record in caplog.records} == {7}


def test_a_database_that_was_never_away_is_not_said_to_be_back(caplog) -> None:
    caplog.set_level("INFO", "exporter.telemetry")

    assert not Outage("database").over()
    assert not caplog.records

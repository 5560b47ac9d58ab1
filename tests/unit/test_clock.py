"""The clock, and times as a message says them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from exporter.clock import Clock, with_local_time

AT = datetime(2026, 11, 29, 17, 3, 15, 900_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("America/Sao_Paulo", "2026-11-29 17:03:15 UTC (14:03:15 -03)"),
        ("Europe/London", "2026-11-29 17:03:15 UTC (17:03:15 GMT)"),
        ("UTC", "2026-11-29 17:03:15 UTC"),
        ("Etc/UTC", "2026-11-29 17:03:15 UTC"),
    ],
)
def test_local_time_stands_beside_utc(zone: str, said: str) -> None:
    assert with_local_time(AT, ZoneInfo(zone)) == said


def test_a_time_of_another_zone_is_told_in_utc() -> None:
    assert with_local_time(AT.astimezone(timezone(timedelta(hours=5))), ZoneInfo("UTC")) == "2026-11-29 17:03:15 UTC"


def test_the_clock_never_goes_back() -> None:
    wall, monotonic = iter([100.0, 101.0, 50.0, 51.0, 200.0]), iter([0.0, 1.0, 2.0, 3.0, 4.0])
    clock = Clock(wall=lambda: next(wall), monotonic=lambda: next(monotonic))

    seconds = [clock.now().timestamp() for _ in range(4)]

    assert seconds == [101, 102, 103, 200]


class Hands:
    """A wall clock that can be set, beside monotonic time that can't."""

    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.monotonic = 0.0
        self.clock = Clock(wall=lambda: self.wall, monotonic=lambda: self.monotonic)

    def pass_(self, seconds: float) -> float:
        """Returns what the clock shows after so many seconds, looked at each second, less where it began."""
        for _ in range(round(seconds)):
            self.wall += 1
            self.monotonic += 1
            shown = self.clock.now().timestamp()
        return shown - 1_000_000


DAYS = 86_400


@pytest.mark.parametrize("days", [45, -45])
def test_a_clock_that_is_wrong_for_seconds_changes_nothing(days) -> None:
    hands = Hands()

    hands.wall += days * DAYS
    while_wrong = hands.pass_(6)
    hands.wall -= days * DAYS

    assert while_wrong == 6
    assert hands.pass_(1_000) == 1_006


@pytest.mark.parametrize("days", [45, -45])
def test_a_clock_that_stays_set_is_believed_after_five_minutes(days) -> None:
    hands = Hands()

    hands.wall += days * DAYS

    assert hands.pass_(300) == 300
    assert hands.pass_(1) == 301 + days * DAYS


def test_a_clock_that_was_ahead_at_the_start_is_right_five_minutes_after_it_was_set_right() -> None:
    hands = Hands()

    hands.wall -= 45 * DAYS

    assert hands.pass_(301) == 301 - 45 * DAYS


def test_the_clock_never_goes_back_behind_the_last_poll_of_another_process() -> None:
    hands = Hands()

    hands.clock.advance_to(datetime.fromtimestamp(1_003_600, UTC))

    assert hands.pass_(1_000) == 4_600


def test_the_clock_goes_on_from_the_last_poll_of_another_process() -> None:
    wall, monotonic = iter([100.0, 100.0, 101.0, 200.0]), iter([0.0, 0.0, 1.0, 2.0])
    clock = Clock(wall=lambda: next(wall), monotonic=lambda: next(monotonic))

    clock.advance_to(datetime.fromtimestamp(160, UTC))

    assert [clock.now().timestamp() for _ in range(2)] == [161, 200]

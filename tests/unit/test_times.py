"""Times as a message says them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from exporter.times import with_local_time

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

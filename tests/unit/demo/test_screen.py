"""What the demo shows."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from exporter.config.secrets import Secret
from exporter.config.settings import BridgeSettings, DatabaseSettings, PulsarSettings, Settings
from exporter.demo.screen import Screen
from tests.support.builders import bucket, observed, poll, view

EVENT = {
    "state": "resolved",
    "severity": "warning",
    "alertname": "TokensLow",
    "participant": "12345678",
    "policy": None,
    "utilization_percent": 42.4,
    "reason": "recovered",
}


def settings(dsn: str = "dsn") -> Settings:
    return Settings(
        bridge=BridgeSettings(target="127.0.0.1:1"),
        database=DatabaseSettings(dsn=Secret(dsn)),
        pulsar=PulsarSettings(service_url="pulsar://x"),
    )


def test_elsewhere_than_on_a_terminal_lines_are_plain(capsys) -> None:
    screen = Screen()
    seen = view(poll(bucket(3_000), bucket(70, policy="KEYS_CHECK", capacity=70)))

    screen.addresses("127.0.0.1:9862", settings())
    screen.buckets({"12345678": seen})
    screen.event(EVENT)
    screen.event(EVENT | {"state": "firing", "policy": "KEYS_CHECK", "utilization_percent": None})
    screen.dip("12345678", bucket(90, policy="ENTRIES_UPDATE", capacity=600))
    screen.close()

    out = capsys.readouterr().out
    assert "between two polls  12345678  ENTRIES_UPDATE down to 90/600 tokens: only reads saw it" in out
    assert "http://127.0.0.1:9862/metrics" in out
    assert "most used: 12345678 ENTRIES_WRITE 3000/36000 tokens left (92% used)" in out
    assert "event resolved  warning   TokensLow  12345678  -  42% used  (recovered)" in out
    assert "1 firing and 1 resolved events arrived from the broker" in out


def test_on_a_terminal_a_table_is_redrawn() -> None:
    screen = Screen()
    screen.live = True
    screen._console = Console(file=io.StringIO(), force_terminal=True, width=160, height=40)
    seen = view(
        poll(observed(bucket(3_000), rate=120.0, empty=float("inf")), observed(bucket(9, policy="B"), empty=5.0))
    )

    screen.addresses("127.0.0.1:9862", settings())
    screen.event(EVENT)
    screen.buckets({"12345678": seen})
    screen.close()

    out = screen._console.file.getvalue()
    assert "█" in out
    assert "never" in out
    assert "event resolved" in out


def test_a_small_terminal_shows_whole_names_and_the_last_event() -> None:
    screen = Screen()
    screen.live = True
    screen._console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24, color_system=None)
    seen = view(
        poll(*(observed(bucket(36_000, policy=f"{n:02}_READ_PARTICIPANT_ANTISCAN_"), rate=1.0) for n in range(20)))
    )

    screen.addresses("127.0.0.1:9862", settings())
    for number in range(20):
        screen.event(EVENT | {"alertname": f"DictRateLimitExhaustionProjected{number}", "policy": "KEYS_CHECK"})
    screen.buckets({"12345678": seen})
    screen.close()

    drawn = screen._console.file.getvalue().rpartition("metrics  ")[2]
    assert "12345678 00_READ_PARTICIPANT_ANTISCAN_ 36000/36000" in drawn
    assert re.search(r"Projected19\s+12345678\s+KEYS_CHECK\s+42% used", drawn)
    assert len(drawn.splitlines()) <= 24


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 12), (200, 8)])
def test_however_small_the_terminal_the_addresses_stay_and_all_fits(width, height) -> None:
    screen = Screen()
    screen.live = True
    screen._console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)
    seen = view(poll(*(bucket(36_000, policy=f"{n:02}_READ_PARTICIPANT_ANTISCAN_") for n in range(20))))

    screen.addresses("127.0.0.1:9862", settings(f"postgresql://postgres@/?host=/{'a' * 60}"))
    for number in range(20):
        screen.event(EVENT | {"alertname": f"DictRateLimitExhaustionProjected{number}", "policy": "KEYS_CHECK"})
    drawn = screen._console.render_lines(screen._fitting([(seen, b) for b in seen.buckets.values()]), pad=False)
    text = "\n".join("".join(part.text for part in line) for line in drawn)

    assert len(drawn) < height or height < 12
    for address in ("http://127.0.0.1:9862/metrics", "pulsar://x", "127.0.0.1:1 (simulated)"):
        assert address in text
    if height > 20:
        assert "36000/36000" in text
        assert "Projected19" in text

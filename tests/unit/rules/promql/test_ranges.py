"""Expressions that look back at what was shown, over the views of polls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.alerts.history import History
from exporter.buckets.observation import view_after
from exporter.rules.promql.lookback import ALL_MS, lookback_ms
from exporter.rules.promql.parser import parse
from exporter.rules.promql.sources import LOOKBACK_MS
from tests.support.builders import START, bucket, failed, poll
from tests.support.rules import evaluated

if TYPE_CHECKING:
    from exporter.buckets.observation import Poll, View

TOKENS, UP = "dict_rate_limit_available_tokens", "dict_rate_limit_up"
A, B = (f'{{participant="12345678", policy="{policy}"}}' for policy in "AB")
NOW = int(START.timestamp()) + 120
"""START is a whole number of minutes since 1970: so steps of a minute fall on polls."""


def draining() -> list[Poll]:
    """Nine polls, one each 15 s: A loses 10 tokens with each, B comes with the sixth; the last one failed."""
    polls = [
        poll(
            bucket(100 - 10 * index, policy="A"),
            *([bucket(index, policy="B")] if index >= 5 else []),
            seconds=15 * index,
        )
        for index in range(8)
    ]
    return [*polls, failed(120)]


def looked(expr: str, polls: list[Poll] | None = None) -> dict[str, float]:
    history = History(dict.fromkeys((TOKENS, UP, "dict_rate_limit_participant_info"), 3_600_000))
    seen: View | None = None
    for one in polls or draining():
        seen = view_after(seen, one)
        history.add(seen)
    return evaluated(expr, seen, history=history)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (f"min_over_time({TOKENS}[1m])", {A: 30, B: 5}),
        (f"max_over_time({TOKENS}[1m])", {A: 50, B: 7}),
        (f'count_over_time({TOKENS}{{policy="B"}}[1h])', {B: 4}),
        (f'last_over_time({TOKENS}{{policy!~"B"}}[1m])', {f"{TOKENS}{A}": 30}),
        (f"count_over_time({UP}[1m]) - sum_over_time({UP}[1m])", {'{participant="12345678"}': 1}),
        (f"{TOKENS} offset 45s", {f"{TOKENS}{A}": 50, f"{TOKENS}{B}": 5}),
        (f"{TOKENS} offset 46s", {f"{TOKENS}{A}": 60}),
        (f"{TOKENS} offset -15s", {f"{TOKENS}{A}": 30, f"{TOKENS}{B}": 7}),
        (f"{TOKENS} offset -5m", {}),
        (f"{TOKENS} @ {NOW - 120}", {f"{TOKENS}{A}": 100}),
        (f"{TOKENS} @ end() offset 1m", {f"{TOKENS}{A}": 60}),
        (f"delta({TOKENS}[90s] offset 15s)", {A: -60, B: pytest.approx(2 + 7.5 / 15)}),
        (f"max_over_time(({TOKENS} <= 80)[2m:30s])", {A: 80, B: 7}),
        (f"count_over_time({UP}[2m:])", {'{participant="12345678"}': 2}),
        (f"max_over_time({TOKENS}[1m] @ {NOW - 60})", {A: 90}),
        (f"max_over_time(({TOKENS} @ start() - {TOKENS})[2m:1m])", {A: 0, B: 0}),
        (f"max_over_time(rate({TOKENS}[1m])[2m:1m])", {A: pytest.approx(280 / 60), B: pytest.approx(8 / 3 / 60)}),
        (f"{TOKENS} smoothed", {f"{TOKENS}{A}": 30, f"{TOKENS}{B}": 7}),
        (f'{TOKENS}{{policy="A"}} smoothed offset 50s', {f"{TOKENS}{A}": pytest.approx(160 / 3)}),
        (f"{UP} anchored", {f'{UP}{{participant="12345678"}}': 0}),
        (f"predict_linear({TOKENS}[2m] offset 15s, 60) <= 0", {A: pytest.approx(-20)}),
        ("max_over_time(dict_rate_limit_participant_info[1m])", {'{participant="12345678", psp_category="A"}': 1}),
    ],
)
def test_what_was_shown_is_seen_at_its_instant(expr: str, expected: dict[str, float]):
    assert looked(expr) == expected


def test_without_history_only_the_present_is_seen():
    assert evaluated(f"max_over_time({TOKENS}[5m])") == {}
    assert evaluated(f"{TOKENS} offset 1m") == {}


def test_series_that_differ_in_their_names_alone_cannot_lose_these():
    both = f"({TOKENS} or on (participant, policy, __name__) dict_rate_limit_capacity)"
    history = History({TOKENS: 3_600_000, "dict_rate_limit_capacity": 3_600_000})
    seen = view_after(None, poll(bucket(1, policy="A")))
    history.add(seen)

    assert evaluated(f"last_over_time({both}[1m:15s])", seen, history=history) == {
        f"{TOKENS}{A}": 1,
        f"dict_rate_limit_capacity{A}": 36_000,
    }
    with pytest.raises(Exception, match="same labelset"):
        evaluated(f"max_over_time({both}[1m:15s])", seen, history=history)


MINUTE_MS = 60_000


@pytest.mark.parametrize(
    ("expr", "minutes"),
    [
        (f"{TOKENS} > 1", None),
        (f"max_over_time({TOKENS}[10m])", 10),
        (f"max_over_time({TOKENS}[10m] offset 5m)", 15),
        (f"max_over_time({TOKENS}[10m] offset -15m)", 5),
        (f"{TOKENS} offset 5m", 10),
        (f"{TOKENS} offset -5m", 5),
        (f"{TOKENS} smoothed", 5),
        (f"rate({TOKENS}[10m] anchored)", 15),
        (f"max_over_time({TOKENS}[10m:1m])", 15),
        (f"max_over_time(max_over_time({TOKENS}[10m] offset 2m)[20m:1m] offset 1h)", 92),
        (f"max_over_time(({TOKENS} offset -30m)[20m:1m])", 5),
        (f"max_over_time(({TOKENS} offset 26h)[1h:1m] offset -4h)", 23 * 60 + 5),
        (f"max_over_time({TOKENS}[10m] @ start())", 10),
        (f"max_over_time((1 + {TOKENS} @ end())[20m:1m])", 5),
        (f"max_over_time({TOKENS}[(1m + 1m) * 2])", 4),
        (f"max_over_time({TOKENS}[max_of(2m, step()) + range()])", 2),
        (f"max_over_time({TOKENS}[min_of(7m, 9m) + 0 * step()])", 7),
        (f"max_over_time({TOKENS}[min_of(7m, 1e9 ^ 99)] offset max_of(1m, -1e9 ^ 99))", 8),
        (f"max_over_time({TOKENS}[5m] offset -min_of(1m, 2m))", 4),
        (f"max by (participant) ({TOKENS} offset 1h) + on (participant) max_over_time({TOKENS}[2m])", 65),
    ],
)
def test_how_far_an_expression_looks_back(expr: str, minutes: int | None):
    assert lookback_ms(parse(expr)) == ({} if minutes is None else {TOKENS: minutes * MINUTE_MS})


def test_a_time_of_its_own_asks_for_all_that_is_kept():
    assert lookback_ms(parse(f"max_over_time(({TOKENS} offset -1h)[5m:1m] @ 5)")) == {TOKENS: ALL_MS}
    assert lookback_ms(parse(f"max_over_time({TOKENS}[1m] @ 5) + {UP} offset 1s")) == {
        TOKENS: ALL_MS,
        UP: LOOKBACK_MS + 1_000,
    }

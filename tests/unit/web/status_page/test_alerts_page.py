"""The page of past alerts as it is sent."""

from __future__ import annotations

from dataclasses import replace

from tests.support.builders import PARTICIPANT, POLICY
from tests.support.pages import PAST_ALERT, StoredHistory, links, page


async def test_past_alerts_are_listed_with_duration_lowest_level_and_reason():
    open_alert = replace(PAST_ALERT, policy=None, state="firing", resolved_at=None, reason=None, lowest=None)

    shape = await page("/alerts", record=StoredHistory([PAST_ALERT, open_alert]))

    for words in (
        "TokensLow",
        "1h",
        "3,000 of 36,000",
        "8.3 %",
        "its condition was no longer true",
        "all of",
        "it is open",
    ):
        assert words in shape.words
    began = f"{PAST_ALERT.began_at:%Y-%m-%dT%H%%3A%M%%3A%SZ}"
    assert f"./buckets/{PARTICIPANT}/{POLICY}?range=6h&at={began}" in links(shape)
    assert "https://r/low" in links(shape)


async def test_past_alerts_are_filtered_sorted_and_turned():
    record = StoredHistory([PAST_ALERT] * 51)

    shape = await page(
        "/alerts?participant=1234&policy=A&alert=TokensLow&severity=warning&state=resolved"
        "&from=2026-03-01&to=2026-03-02&sort=-duration&page=2",
        record=record,
    )

    [wanted] = record.queries
    assert (wanted.participant, wanted.policy, wanted.name, wanted.severity, wanted.state) == (
        *("1234", "A", "TokensLow", "warning", "resolved"),
    )
    assert (wanted.sort, wanted.skip, wanted.limit) == ("-duration", 50, 51)
    assert len([tag for tag, _ in shape.elements if tag == "tr"]) == 51
    assert {attributes["rel"] for _, attributes in shape.elements if "rel" in attributes} >= {"prev", "next"}
    assert [a["aria-sort"] for tag, a in shape.elements if "aria-sort" in a] == ["descending"]
    assert any("sort=duration" in (link or "") for link in links(shape))


async def test_no_past_alert_is_said():
    assert "No alert that matches the filter was open then." in (await page("/alerts", record=StoredHistory())).words

"""The page of a bucket as it is sent: whatever is known, and whatever is not; also what it shares with past alerts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from exporter.alerts.alert import AlertState
from exporter.buckets.bucket import PolicyName
from exporter.config import WebSettings
from exporter.errors import DatabaseUnavailable, QueryTooSlow, StoreError
from exporter.health import Readiness
from exporter.metrics import Metrics
from exporter.web.app import create_app
from exporter.web.sources import RuleExplanation, RuleGroupStatus, RuleStatus, Sources
from tests.support.builders import PARTICIPANT, POLICY, alert, bucket, failed, poll, view
from tests.support.pages import BUCKET, NOW, PAST_ALERT, StoredHistory, links, page, request

RULE = RuleStatus("TokensLow", "dict_rate_limit_utilization_percent >= 80", 0.0, 0.0, evaluated_at=NOW)


async def test_the_present_is_shown_with_units():
    shape = await page()

    for words in ("8.3 %", "3,000 of 36,000 tokens", "critical", "1,500 / min", "1,200 / min", "10m", "27m 30s"):
        assert words in shape.words


async def test_without_a_database_the_page_says_where_the_past_is():
    assert "This process has no database" in (await page()).words
    assert "This process has no database" in (await page("/alerts")).words


async def test_the_past_is_a_chart_a_summary_and_a_table():
    shape = await page(f"{BUCKET}?range=1h", record=StoredHistory())

    assert "Tokens: 7 of 100 at the end, fewest 5" in shape.words
    assert "No data for 5s of it. 1 alert fired: TokensLow." in shape.words
    assert "Its condition became true; it waited for nothing more." in shape.words
    charts = [attributes for tag, attributes in shape.elements if attributes.get("role") == "img"]
    assert [chart["aria-labelledby"] for chart in charts] == ["tokens-title readout", "used-title readout"]
    assert [a for tag, a in shape.elements if tag == "rect" and a.get("class") == "gap"]
    assert shape.words.count("unknown") == 1  # of the figures now: the share of 404s


@pytest.mark.parametrize(("name", "steps"), [("1h", 720), ("6h", 720), ("24h", 720), ("7d", 672), ("30d", 720)])
async def test_every_range_is_asked_for_in_few_steps(name: str, steps: int):
    record = StoredHistory()

    await page(f"{BUCKET}?range={name}", record=record)

    [(since, step, asked)] = record.queries
    assert asked == steps
    assert since + step * steps - datetime.now(UTC) <= step


async def test_where_extremes_take_too_long_the_page_says_so():
    assert "only the state at its end is drawn" in (await page(record=StoredHistory(extremes=False))).words


async def test_a_time_of_the_past_is_not_refreshed_and_leads_on():
    shape = await page(f"{BUCKET}?range=1h&at=2026-03-10T12:00:00Z", record=StoredHistory())

    assert "1 hour around 2026-03-10 12:00:00 UTC" in shape.words
    assert "?range=1h&at=2026-03-10T11%3A30%3A05Z" in links(shape)
    assert "?range=1h" in links(shape)
    assert not [a for tag, a in shape.elements if tag == "script" and "status.js" in (a["src"] or "")]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DatabaseUnavailable("PostgreSQL does not answer: refused"), "PostgreSQL does not answer: refused."),
        (QueryTooSlow("PostgreSQL took longer than 2s"), "PostgreSQL took longer than 2s: ask for a shorter time"),
    ],
)
async def test_while_the_database_is_away_the_present_is_shown(error: StoreError, words: str):
    bucket_shape = await page(record=StoredHistory(error=error))
    alerts_shape = await page("/alerts", record=StoredHistory(error=error))

    assert f"History not available: {words}" in bucket_shape.words
    assert "3,000 of 36,000 tokens" in bucket_shape.words
    assert f"Past alerts not available: {words}" in alerts_shape.words


async def test_who_waits_for_a_database_that_hangs_sees_the_present():
    class Hanging(StoredHistory):
        async def _query(self, query: object) -> None:
            await asyncio.Event().wait()

    app = create_app(
        Sources(
            Metrics(),
            lambda: {PARTICIPANT: view(poll(bucket(3_000)))},
            lambda: Readiness(ready=True, dependencies=[]),
            record=Hanging(),  # type: ignore[arg-type]
        ),
        WebSettings(),
        history_seconds=0.05,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exporter") as http:
        answers = await asyncio.gather(*(http.get(BUCKET) for _ in range(5)))

    assert all("PostgreSQL did not answer within 0.05s." in answer.text for answer in answers)
    assert all("3,000 of 36,000 tokens" in answer.text for answer in answers)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            f"/buckets/{PARTICIPANT}/ENTRIES_WRIT",
            f"{PARTICIPANT} has no bucket ENTRIES_WRIT; did you mean ENTRIES_WRITE?",
        ),
        (f"/buckets/12345679/{POLICY}", f"There is no participant 12345679; did you mean {PARTICIPANT}?"),
        ("/buckets/1/X", "There is no participant 1."),
        ("/buckets/%00/X", "There is no participant"),
        (f"/buckets/{PARTICIPANT}/A%2FB", f"{PARTICIPANT} has no bucket A/B."),
    ],
)
@pytest.mark.parametrize("record", [None, StoredHistory()])
async def test_an_unknown_bucket_is_404_with_the_nearest_name(url: str, words: str, record: StoredHistory | None):
    assert words in (await page(url, status=404, record=record)).words


async def test_a_bucket_that_is_gone_still_has_its_past():
    shape = await page(f"/buckets/{PARTICIPANT}/GONE", record=StoredHistory())

    assert "No recent answer of the Bridge that this process knows holds this bucket" in shape.words
    assert "Tokens: 7 of 100 at the end" in shape.words


async def test_whether_there_is_a_bucket_is_not_known_while_the_database_is_away():
    shape = await page(
        f"/buckets/{PARTICIPANT}/GONE", status=503, record=StoredHistory(error=DatabaseUnavailable("away"))
    )

    assert "It is not known whether this bucket exists" in shape.words


@pytest.mark.parametrize("url", [f"{BUCKET}?range=9h", f"{BUCKET}?at=noon", "/alerts?from=x", "/alerts?page=0"])
async def test_what_makes_no_sense_is_400_with_a_sentence(url: str):
    shape = await page(url, status=400, record=StoredHistory())

    assert "Invalid query" in shape.words


@pytest.mark.parametrize("url", [BUCKET, "/alerts", "/buckets/1/X", "/alerts?page=0"])
async def test_head_is_answered_as_get_and_nothing_else_is_understood(url: str):
    got, head, post = [await request(url, method=method, record=StoredHistory()) for method in ("GET", "HEAD", "POST")]

    assert head.status_code == got.status_code
    # Times pass between the two.
    assert abs(int(head.headers["content-length"]) - int(got.headers["content-length"])) < 100
    assert post.status_code == 405


@pytest.mark.parametrize("url", ["/alerts/", "/buckets", f"/buckets/{PARTICIPANT}"])
async def test_only_these_paths_answer(url: str):
    assert (await request(url)).status_code == 404


async def test_links_find_their_way_back_whatever_the_policy_is_called():
    odd = PolicyName("A/B <i>")
    views = {PARTICIPANT: view(poll(bucket(policy=odd)))}

    shape = await page(f"/buckets/{PARTICIPANT}/A%2FB%20%3Ci%3E", views=lambda: views, record=StoredHistory())
    status = await page("/", views=lambda: views)

    assert f"../../?participant={PARTICIPANT}" in links(shape)
    assert f"buckets/{PARTICIPANT}/A%2FB%20%3Ci%3E" in links(status)
    assert "i" not in {tag for tag, _ in shape.elements}


async def test_nothing_inline_that_the_security_policy_forbids():
    for url in (BUCKET, "/alerts", "/buckets/1/X"):
        shape = await page(url, status=404 if url.endswith("X") else 200, record=StoredHistory([PAST_ALERT]))

        assert not [tag for tag, attributes in shape.elements if "style" in attributes or tag == "style"]
        assert not [name for _, attributes in shape.elements for name in attributes if name.startswith("on")]
        assert all("src" in attributes for tag, attributes in shape.elements if tag == "script")


async def test_rules_explain_themselves():
    def why(*_: object) -> list[RuleExplanation]:
        return [RuleExplanation("TokensLow", "warning", "firing", ["Firing since noon.", "`for` is 0s."])]

    shape = await page(
        why=why,
        record=StoredHistory(),
        open_alerts=lambda: [alert(), alert(policy="OTHER")],
        rules=lambda: [RuleGroupStatus("dict", "a.yml", 0.0, [RULE])],
    )

    assert "Firing since noon. for is 0s." in shape.words.replace("\n", " ")
    assert [tag for tag, _ in shape.elements].count("code") == 1
    assert "waits for tokens to come back" in shape.words
    assert shape.words.count("firing for") == 1


async def test_a_rule_that_failed_is_explained_with_what_it_said():
    heard = []

    def why(*arguments: Any) -> list[RuleExplanation]:
        heard.append(arguments)
        return []

    broken = replace(RULE, health="err", last_error="many-to-many")
    others = [alert(), alert(participant="87654321")]
    await page(why=why, open_alerts=lambda: others, rules=lambda: [RuleGroupStatus("dict", "a.yml", 0.0, [broken])])

    [(_, own, policy, failing, _)] = heard
    assert (own, policy, failing) == (others[:1], POLICY, {("dict", "TokensLow"): "many-to-many"})


async def test_an_unanswered_poll_is_told():
    shape = await page(views=lambda: {PARTICIPANT: view(poll(bucket(3_000)), failed(15))})

    assert "The last poll was not answered: the Bridge did not answer. These figures are the last known." in shape.words


async def test_a_pending_alert_looks_pending():
    pending = alert(state=AlertState.PENDING)

    shape = await page(open_alerts=lambda: [pending], rules=lambda: [RuleGroupStatus("dict", "a.yml", 0.0, [RULE])])

    assert "pending for" in shape.words
    assert "badge pending" in [attributes.get("class") for _, attributes in shape.elements]


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

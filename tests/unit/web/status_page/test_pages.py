"""The pages as they are sent: the status, a bucket's history, past alerts."""

from __future__ import annotations

import asyncio
import gc
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from exporter.alerts.alert import AlertState, Severity
from exporter.buckets.bucket import PolicyName
from exporter.config.settings import WebSettings
from exporter.errors import DatabaseUnavailable, QueryTooSlow, StoreError
from exporter.health import Dependency, Readiness
from exporter.metrics import Metrics
from exporter.web.app import create_app
from exporter.web.sources import RuleExplanation, RuleGroupStatus, RuleStatus, Sources
from exporter.web.status_page.rows import BucketRow
from tests.support.builders import PARTICIPANT, POLICY, alert, at, bucket, failed, observed, poll, read, view
from tests.support.garbage import uncollected
from tests.support.pages import BUCKET, NOW, PAST_ALERT, Shape, StoredHistory, links, page, request

if TYPE_CHECKING:
    from exporter.buckets.bucket import PolicyName


STATUS_RULE = RuleStatus(
    "TokensLow", "dict_rate_limit_up == 0", 60.0, 0.0, labels={"severity": "warning"}, health="ok", evaluated_at=at(0)
)


async def status_page(query: str = "", **sources: Any) -> Shape:
    return Shape(await body(query, **sources))


async def body(query: str = "", **sources: Any) -> str:
    sources.setdefault("views", lambda: {PARTICIPANT: view(poll(bucket(3_000)))})
    answer = await request(f"/{query}", **sources)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


async def test_a_bucket_is_shown_with_its_level_and_figures():
    views = {PARTICIPANT: view(poll(observed(bucket(3_000), rate=1_500.0, empty=600.0)))}

    shape = await status_page(views=lambda: views)

    for words in (
        "ENTRIES_WRITE",
        PARTICIPANT,
        "8.3 %",
        "3,000 of 36,000",
        "1,500 / min",
        "1,200 / min",
        "10m",
        "27m 30s",
    ):
        assert words in shape.words
    [bar] = [attributes for tag, attributes in shape.elements if tag == "rect" and attributes["class"] == "left"]
    assert bar["width"] == "8.33"


async def test_what_a_page_showed_is_gone_with_it():
    """Without the garbage collector, which is slow where much is known."""
    with uncollected():
        await body()
        left = [one for one in gc.get_objects() if isinstance(one, BucketRow)]

    assert not left


async def test_a_dip_is_shown_with_how_low_it_came_and_what_it_refused():
    dipped = replace(observed(bucket(30_000)), lowest_available_tokens=0, error_429_rate=0.125)
    views = {PARTICIPANT: view(poll(dipped))}

    shape = await status_page(views=lambda: views)

    assert "30,000 of 36,000, lowest 0, 12 % refused" in shape.words
    [bar] = [attributes for tag, attributes in shape.elements if tag == "rect" and attributes["class"] == "lowest"]
    assert bar["x"] == "0.00"
    assert "<strong>empty</strong>" not in await body(views=lambda: views)  # it is not empty any more


async def test_what_is_not_known_is_not_made_up():
    assert (await status_page()).words.count("unknown") == 3


async def test_nothing_inline_that_the_security_policy_forbids_is_in_the_status_page():
    shape = await status_page(open_alerts=lambda: [alert()], rules=list)

    assert not [tag for tag, attributes in shape.elements if "style" in attributes or tag == "style"]
    assert not [name for _, attributes in shape.elements for name in attributes if name.startswith("on")]
    assert all("src" in attributes for tag, attributes in shape.elements if tag == "script")


async def test_text_from_outside_is_escaped():
    views = {PARTICIPANT: view(poll(bucket(policy="<script>alert(1)</script>")))}
    evil = alert(annotations={"summary": "<img src=x>", "runbook_url": "javascript:alert(1)"})

    shape = await status_page(
        "?policy=<b>&participant=%22><i>", views=lambda: views, open_alerts=lambda: [evil], rules=list
    )
    whole = await status_page(views=lambda: views, open_alerts=lambda: [evil], rules=list)

    assert not {"b", "i", "img"} & {tag for tag, _ in (*shape.elements, *whole.elements)}
    assert "<script>alert(1)</script>" in whole.words
    assert not [a for _, a in whole.elements if (a.get("href") or "").startswith("javascript")]


async def test_dependencies_are_shown_with_their_state():
    needed = [Dependency("database", ok=True, message="leading"), Dependency("broker", ok=False, message="no answer")]

    shape = await status_page(readiness=lambda: Readiness(ready=True, dependencies=needed))

    assert "database ok" in shape.words
    assert "broker in trouble" in shape.words
    assert "no answer" in shape.words


async def test_open_alerts_say_what_they_wait_for():
    low = replace(STATUS_RULE, expr="dict_rate_limit_utilization_percent >= 80")
    groups = [RuleGroupStatus("dict", "rules/a.yml", 0.0, [low])]

    shape = await status_page(open_alerts=lambda: [alert(annotations={})], rules=lambda: groups)

    assert "tokens to come back (full in 27m 30s)" in shape.words


def rules_evaluated(at_: datetime | None) -> list[RuleGroupStatus]:
    return [RuleGroupStatus("dict", "rules/a.yml", 0.0, [replace(STATUS_RULE, evaluated_at=at_)])]


def tile(shape: Shape) -> str | None:
    """The class of the tile of open alerts."""
    index = next(i for i, (_, attributes) in enumerate(shape.elements) if attributes.get("href") == "#alerts")
    return shape.elements[index - 1][1]["class"]


async def test_no_alert_is_claimed_not_to_be_there_where_no_rule_was_evaluated():
    shape = await status_page(open_alerts=list, rules=lambda: rules_evaluated(None))

    assert "Not known: this process has evaluated no rule yet." in shape.words
    assert "? open alerts" in shape.words
    assert tile(shape) == "tile "


async def test_alerts_of_rules_that_are_no_longer_evaluated_are_shown_as_of_then():
    shape = await status_page(open_alerts=lambda: [alert()], rules=lambda: rules_evaluated(at(0)))

    assert "As of 2026-03-10 12:00:00 UTC: no rule has been evaluated for" in shape.words
    assert "TokensLow" in shape.words


async def test_without_open_alerts_the_page_says_none():
    shape = await status_page(open_alerts=list, rules=lambda: rules_evaluated(datetime.now(UTC)))

    assert "None." in shape.words
    assert "0 open alerts" in shape.words
    assert tile(shape) == "tile ok"


@pytest.mark.parametrize(
    ("open_alerts", "colour"),
    [
        ([alert(severity=Severity.WARNING)], "warning"),
        ([alert(severity=Severity.WARNING), alert("Empty", severity=Severity.CRITICAL)], "critical"),
        ([alert(severity=Severity.CRITICAL, state=AlertState.PENDING)], "ok"),
        ([alert(severity=Severity.INFO)], "ok"),
    ],
)
async def test_the_number_of_open_alerts_has_the_colour_of_the_worst_that_fires(open_alerts, colour):
    shape = await status_page(open_alerts=lambda: open_alerts, rules=lambda: rules_evaluated(datetime.now(UTC)))

    assert tile(shape) == f"tile {colour}"


async def test_many_alerts_are_cut_short_and_shown_where_asked_for():
    alerts = [alert(f"Alert{number:02d}") for number in range(25)]

    shape = await status_page(open_alerts=lambda: alerts, rules=list)
    whole = await status_page("?alerts=all", open_alerts=lambda: alerts, rules=list)

    assert "and 15 more" in shape.words
    assert "?alerts=all#alerts" in [attributes.get("href") for _, attributes in shape.elements]
    assert sum(whole.words.count(f"Alert{number:02d}") >= 1 for number in range(25)) == 25


async def test_even_all_alerts_are_bounded():
    alerts = [alert(f"Alert{number:03d}", policy=None) for number in range(600)]

    shape = await status_page("?alerts=all", open_alerts=lambda: alerts, rules=list)

    assert "and 100 more: a filter by participant or policy shows them" in shape.words


async def test_31_000_buckets_are_a_small_page_worst_first():
    buckets = [bucket(50 + number, policy=f"POLICY_{number:02d}", capacity=100) for number in range(30)]
    views = {}
    for number in range(1_000):
        current = poll(*buckets, bucket(number, policy="KEYS_CHECK", capacity=1_000), participant=f"{number:08d}")
        views[current.participant] = view(current)

    text = await body(views=lambda: views)

    assert len(text) < 200_000
    assert "of 31,000 buckets" in text
    assert text.index("00000000</a>") < text.index("00000001</a>") < text.index("00000049</a>")
    assert "00000050</a>" not in text


async def test_the_page_says_how_far_back_its_sparklines_go():
    async def past(*_: object) -> dict[PolicyName, dict[datetime, float]]:
        return {}

    assert "go back to the start of this process: it has no database" in (await status_page()).words
    assert "1 of 1 participant is yet to be read from the database" in (await status_page(utilization=past)).words


async def test_rules_are_shown_with_health_and_last_evaluation():
    rules = [
        STATUS_RULE,
        replace(STATUS_RULE, name="Broken", health="err", last_error="many-to-many", labels={}),
        replace(STATUS_RULE, name="New", health="unknown", evaluated_at=None),
        replace(
            STATUS_RULE, name="Blind", unmatched_selectors=("dict_rate_limit_capacity", 'dict_rate_limit_up{x="y"}')
        ),
    ]

    shape = await status_page(
        open_alerts=lambda: [alert(state=AlertState.PENDING)],
        rules=lambda: [RuleGroupStatus("dict", "rules/a.yml", 0.0, rules)],
    )

    blind = "ok, with no series yet of dict_rate_limit_capacity and 1 more"
    for words in ("many-to-many", "not evaluated yet", blind, " ago"):
        assert words in shape.words
    assert "never" in shape.words
    assert ("time", "2026-03-10 12:00:00 UTC") in [(tag, attributes.get("title")) for tag, attributes in shape.elements]


async def test_a_rule_that_records_is_shown_without_what_concerns_alerts():
    records = replace(STATUS_RULE, name="a:b", kind="recording", labels={"severity": "info"}, for_seconds=0.0)

    shape = await status_page(open_alerts=list, rules=lambda: [RuleGroupStatus("dict", "rules/a.yml", 0.0, [records])])

    words = " ".join(shape.words.split())
    assert "a:b recording" in words, words[-400:]
    assert re.search(r" - ok .* ago - - - dict", words)


async def test_an_exporter_without_reconciler_shows_no_alerts_and_no_rules():
    shape = await status_page()

    assert "Open alerts" not in shape.words
    assert "Rules" not in shape.words


async def test_one_participant_is_shown_with_its_facts():
    views = {PARTICIPANT: view(poll(clock_skew_seconds=-2.5), failed(15, last_success_at=at(0)))}

    shape = await status_page(views=lambda: views)

    for words in ("the Bridge did not answer", f"Participant {PARTICIPANT}", "Category", "2026-03-10 12:00:00 UTC"):
        assert words in shape.words


async def test_a_participant_that_never_answered_is_shown_too():
    shape = await status_page(views=lambda: {PARTICIPANT: view(failed())})

    assert "No buckets: no answer of the Bridge is recent enough." in shape.words
    assert "never" in shape.words


async def test_where_nothing_matches_the_filter_the_page_says_so():
    assert "No buckets match the filter." in (await status_page("?policy=OTHER")).words


async def test_nothing_at_all_is_shown_too():
    shape = await status_page(views=dict)

    assert "No buckets yet" in shape.words
    # Nothing is known, and nothing is green.
    assert {
        attributes["class"] for tag, attributes in shape.elements if "tile" in (attributes.get("class") or "").split()
    } == {
        "tile",
        "tile ",
    }


async def test_many_buckets_are_paged_and_the_filter_is_kept():
    buckets = [bucket(1, policy=f"P{number:02d}", capacity=10) for number in range(99)]
    views = {PARTICIPANT: view(poll(*buckets))}

    shape = await status_page("?level=critical", views=lambda: views)

    [following] = [attributes["href"] for tag, attributes in shape.elements if attributes.get("rel") == "next"]
    assert following == "?level=critical&page=2#buckets"
    assert "Page 1 of 2" in shape.words


@pytest.mark.parametrize("name", ["status.css", "status.js", "icon.svg"])
async def test_static_files_are_revalidated(name: str):
    app = create_app(Sources(Metrics(), dict, lambda: Readiness(ready=True, dependencies=[])), WebSettings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exporter") as http:
        answer = await http.get(f"/static/{name}")
        again = await http.get(f"/static/{name}", headers={"If-None-Match": answer.headers["etag"]})

    assert (answer.status_code, again.status_code) == (200, 304)
    assert answer.headers["cache-control"] == "no-cache"


async def test_the_title_counts_what_is_critical():
    views = {PARTICIPANT: view(poll(bucket(1, capacity=100)))}

    assert "(1) DICT rate limits" in (await status_page(views=lambda: views)).words


def test_templates_are_not_loaded_before_somebody_asks():
    code = "import sys, exporter.web.app, exporter.web.server.server; sys.exit('jinja2' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
    assert shape.words.count("unknown") == 2  # of the figures now: the shares of 404s and of 429s


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


async def test_a_bucket_that_the_last_whole_poll_did_not_tell_is_no_failure_of_a_read_since():
    seen = view(poll(bucket(7, capacity=100)), failed(15), read(bucket(1, policy="OTHER"), seconds=17, sequence=3))

    shape = await page(BUCKET, views=lambda: {PARTICIPANT: seen})

    assert "The last whole poll did not tell this bucket. These figures are the last known." in shape.words


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

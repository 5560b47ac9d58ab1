"""The status page as it is sent."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from exporter.alerts.alert import AlertState, Severity
from exporter.config import WebSettings
from exporter.health import Dependency, Readiness
from exporter.metrics import Metrics
from exporter.web.app import create_app
from exporter.web.sources import RuleGroupStatus, RuleStatus, Sources
from tests.support.builders import PARTICIPANT, alert, at, bucket, failed, observed, poll, view
from tests.support.pages import Shape, request

if TYPE_CHECKING:
    from exporter.buckets.bucket import PolicyName


RULE = RuleStatus(
    "TokensLow", "dict_rate_limit_up == 0", 60.0, 0.0, labels={"severity": "warning"}, health="ok", evaluated_at=at(0)
)


async def page(query: str = "", **sources: Any) -> Shape:
    return Shape(await body(query, **sources))


async def body(query: str = "", **sources: Any) -> str:
    sources.setdefault("views", lambda: {PARTICIPANT: view(poll(bucket(3_000)))})
    answer = await request(f"/{query}", **sources)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


async def test_a_bucket_is_shown_with_its_level_and_figures():
    views = {PARTICIPANT: view(poll(observed(bucket(3_000), rate=1_500.0, empty=600.0)))}

    shape = await page(views=lambda: views)

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


async def test_what_is_not_known_is_not_made_up():
    assert (await page()).words.count("unknown") == 3


async def test_nothing_inline_that_the_security_policy_forbids():
    shape = await page(open_alerts=lambda: [alert()], rules=list)

    assert not [tag for tag, attributes in shape.elements if "style" in attributes or tag == "style"]
    assert not [name for _, attributes in shape.elements for name in attributes if name.startswith("on")]
    assert all("src" in attributes for tag, attributes in shape.elements if tag == "script")


async def test_text_from_outside_is_escaped():
    views = {PARTICIPANT: view(poll(bucket(policy="<script>alert(1)</script>")))}
    evil = alert(annotations={"summary": "<img src=x>", "runbook_url": "javascript:alert(1)"})

    shape = await page("?policy=<b>&participant=%22><i>", views=lambda: views, open_alerts=lambda: [evil], rules=list)
    whole = await page(views=lambda: views, open_alerts=lambda: [evil], rules=list)

    assert not {"b", "i", "img"} & {tag for tag, _ in (*shape.elements, *whole.elements)}
    assert "<script>alert(1)</script>" in whole.words
    assert not [a for _, a in whole.elements if (a.get("href") or "").startswith("javascript")]


async def test_dependencies_are_shown_with_their_state():
    needed = [Dependency("database", ok=True, message="leading"), Dependency("broker", ok=False, message="no answer")]

    shape = await page(readiness=lambda: Readiness(ready=True, dependencies=needed))

    assert "database ok" in shape.words
    assert "broker in trouble" in shape.words
    assert "no answer" in shape.words


async def test_open_alerts_say_what_they_wait_for():
    low = replace(RULE, expr="dict_rate_limit_utilization_percent >= 80")
    groups = [RuleGroupStatus("dict", "rules/a.yml", 0.0, [low])]

    shape = await page(open_alerts=lambda: [alert(annotations={})], rules=lambda: groups)

    assert "tokens to come back (full in 27m 30s)" in shape.words


def rules_evaluated(at_: datetime | None) -> list[RuleGroupStatus]:
    return [RuleGroupStatus("dict", "rules/a.yml", 0.0, [replace(RULE, evaluated_at=at_)])]


def tile(shape: Shape) -> str | None:
    """The class of the tile of open alerts."""
    index = next(i for i, (_, attributes) in enumerate(shape.elements) if attributes.get("href") == "#alerts")
    return shape.elements[index - 1][1]["class"]


async def test_no_alert_is_claimed_not_to_be_there_where_no_rule_was_evaluated():
    shape = await page(open_alerts=list, rules=lambda: rules_evaluated(None))

    assert "Not known: this process has evaluated no rule yet." in shape.words
    assert "? open alerts" in shape.words
    assert tile(shape) == "tile "


async def test_alerts_of_rules_that_are_no_longer_evaluated_are_shown_as_of_then():
    shape = await page(open_alerts=lambda: [alert()], rules=lambda: rules_evaluated(at(0)))

    assert "As of 2026-03-10 12:00:00 UTC: no rule has been evaluated for" in shape.words
    assert "TokensLow" in shape.words


async def test_without_open_alerts_the_page_says_none():
    shape = await page(open_alerts=list, rules=lambda: rules_evaluated(datetime.now(UTC)))

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
    shape = await page(open_alerts=lambda: open_alerts, rules=lambda: rules_evaluated(datetime.now(UTC)))

    assert tile(shape) == f"tile {colour}"


async def test_many_alerts_are_cut_short_and_shown_where_asked_for():
    alerts = [alert(f"Alert{number:02d}") for number in range(25)]

    shape = await page(open_alerts=lambda: alerts, rules=list)
    whole = await page("?alerts=all", open_alerts=lambda: alerts, rules=list)

    assert "and 15 more" in shape.words
    assert "?alerts=all#alerts" in [attributes.get("href") for _, attributes in shape.elements]
    assert sum(whole.words.count(f"Alert{number:02d}") >= 1 for number in range(25)) == 25


async def test_even_all_alerts_are_bounded():
    alerts = [alert(f"Alert{number:03d}", policy=None) for number in range(600)]

    shape = await page("?alerts=all", open_alerts=lambda: alerts, rules=list)

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

    assert "go back to the start of this process: it has no database" in (await page()).words
    assert "1 of 1 participant is yet to be read from the database" in (await page(utilization=past)).words


async def test_rules_are_shown_with_health_and_last_evaluation():
    rules = [
        RULE,
        replace(RULE, name="Broken", health="err", last_error="many-to-many", labels={}),
        replace(RULE, name="New", health="unknown", evaluated_at=None),
        replace(RULE, name="Blind", matched_series=False),
    ]

    shape = await page(
        open_alerts=lambda: [alert(state=AlertState.PENDING)],
        rules=lambda: [RuleGroupStatus("dict", "rules/a.yml", 0.0, rules)],
    )

    for words in ("many-to-many", "not evaluated yet", "with no series to look at yet", " ago"):
        assert words in shape.words
    assert "never" in shape.words
    assert ("time", "2026-03-10 12:00:00 UTC") in [(tag, attributes.get("title")) for tag, attributes in shape.elements]


async def test_an_exporter_without_reconciler_shows_no_alerts_and_no_rules():
    shape = await page()

    assert "Open alerts" not in shape.words
    assert "Rules" not in shape.words


async def test_one_participant_is_shown_with_its_facts():
    views = {PARTICIPANT: view(poll(clock_skew_seconds=-2.5), failed(15, last_success_at=at(0)))}

    shape = await page(views=lambda: views)

    for words in ("the Bridge did not answer", f"Participant {PARTICIPANT}", "Category", "2026-03-10 12:00:00 UTC"):
        assert words in shape.words


async def test_a_participant_that_never_answered_is_shown_too():
    shape = await page(views=lambda: {PARTICIPANT: view(failed())})

    assert "No buckets: no answer of the Bridge is recent enough." in shape.words
    assert "never" in shape.words


async def test_where_nothing_matches_the_filter_the_page_says_so():
    assert "No buckets match the filter." in (await page("?policy=OTHER")).words


async def test_nothing_at_all_is_shown_too():
    shape = await page(views=dict)

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

    shape = await page("?level=critical", views=lambda: views)

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

    assert "(1) DICT rate limits" in (await page(views=lambda: views)).words


def test_templates_are_not_loaded_before_somebody_asks():
    code = "import sys, exporter.web.app, exporter.web.server.server; sys.exit('jinja2' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

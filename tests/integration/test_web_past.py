"""The pages of a bucket and of past alerts, over a real database, in a real browser."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from exporter.alerts.alert import Severity
from exporter.config.secrets import Secret
from exporter.config.settings import DatabaseSettings
from exporter.health import Readiness
from exporter.metrics import Metrics
from exporter.store.database import Database
from exporter.store.timeline import Timeline
from exporter.web.app import create_app
from exporter.web.sources import RuleExplanation, RuleGroupStatus, RuleStatus, Sources
from tests.support import http
from tests.support.builders import PARTICIPANT, POLICY, START, alert, bucket, failed, observed, poll, view
from tests.support.chromium import CHROMIUM, Tab, browser
from tests.support.postgres import hostile
from tests.support.program import Bridge, Program, programs, wait_until
from tests.support.stored import HEARTBEAT_SECONDS, reconciled, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporter.alerts.alert import Alert
    from exporter.web.server.server import WebServer

pytestmark = pytest.mark.postgres

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed")

BUCKET = f"buckets/{PARTICIPANT}/{POLICY}"
WIDTHS = (320, 390, 768, 1024, 1366, 1920)
RULE = RuleStatus("TokensLow", "dict_rate_limit_utilization_percent >= 80", 60.0, 0.0, {"severity": "warning"})


@dataclass
class Site:
    """A server over a database with an hour of one bucket in it, and its address."""

    server: WebServer
    url: str


async def fill(dsn: str, now: datetime) -> None:
    """An hour until now: full, then emptied below both lines, ten minutes without an answer, and full again."""
    began = (now - START).total_seconds() - 3_600
    async with stored(dsn, now) as store:
        low = alert("DictRateLimitTokensLow", seconds=began + 1_000, annotations={"runbook_url": "https://r/low"})
        worse = alert("DictRateLimitTokensCritical", seconds=began + 1_200, severity=Severity.CRITICAL)
        before: tuple[Alert, ...] = ()
        for second in range(0, 3_600, 20):
            seconds = began + second
            left = 90 if second < 1_000 or second > 2_600 else 15 if second < 1_200 else 4
            made = poll(observed(bucket(left, capacity=100), rate=9.5, empty=600.0), seconds=seconds)
            if 1_500 < second < 2_100:
                made = failed(seconds)
            after: tuple[Alert, ...] = (
                () if second > 2_600 else (low, worse) if second >= 1_200 else (low,) if second >= 1_000 else ()
            )
            await store.commit(reconciled(seconds, poll=made, before=before, after=after))
            before = after


@asynccontextmanager
async def serving(dsn: str) -> AsyncIterator[Site]:
    """Beside the bucket's past: an open alert, and an explanation."""
    now = datetime.now(UTC)
    await fill(dsn, now)
    present = view(
        poll(observed(bucket(90, capacity=100), rate=9.5, empty=600.0), seconds=(now - START).total_seconds())
    )
    database = DatabaseSettings(dsn=Secret(hostile(dsn)), min_size=0, max_size=2)
    async with Database(database, writes=False) as pages:
        sources = Sources(
            metrics=Metrics(),
            views=lambda: {PARTICIPANT: present},
            readiness=lambda: Readiness(ready=True, dependencies=[]),
            open_alerts=lambda: [alert("DictRateLimitTokensLow")],
            rules=lambda: [RuleGroupStatus("dict", "rules/a.yml", 0.0, [RULE])],
            record=Timeline(pages, HEARTBEAT_SECONDS),
            why=lambda *_: [RuleExplanation("TokensLow", "warning", "inactive", ["Not firing: `for` is 1m."])],
        )
        async with http.serving(create_app(sources, http.settings())) as server:
            yield Site(server, f"http://{server.addresses[0]}/")


@asynccontextmanager
async def opened(folder: Path, dsn: str) -> AsyncIterator[tuple[Tab, Site]]:
    async with serving(dsn) as site, browser(folder) as tab:
        yield tab, site


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_screen_is_too_narrow_and_the_console_is_silent(tmp_path: Path, database_dsn: str, scheme: str):
    async with opened(tmp_path, database_dsn) as (tab, site):
        for path in (f"{BUCKET}?range=1h", "alerts"):
            for width in WIDTHS:
                await tab.go(site.url + path, scheme, width)

                assert await tab.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
        assert tab.complaints == []


@needs_chromium
@pytest.mark.skipif(find_spec("axe_core_python") is None, reason="the wheel axe-core-python is not installed")
@pytest.mark.parametrize("width", [1360, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_inaccessible(tmp_path: Path, database_dsn: str, scheme: str, width: int):
    axe = find_spec("axe_core_python")
    assert axe is not None
    assert axe.origin is not None
    source = Path(axe.origin).with_name("axe.min.js").read_text(encoding="utf-8")
    async with opened(tmp_path, database_dsn) as (tab, site):
        for path in (f"{BUCKET}?range=1h", "alerts", "buckets/1/X"):
            await tab.go(site.url + path, scheme, width)
            await tab.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
            await tab.evaluate(source + "; null")

            found = await tab.evaluate("axe.run().then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html)]))")

            assert found == []


@needs_chromium
async def test_values_are_shown_under_the_pointer_and_by_keyboard(tmp_path: Path, database_dsn: str):
    async with opened(tmp_path, database_dsn) as (tab, site):
        await tab.go(f"{site.url}{BUCKET}?range=1h")
        summary = await tab.evaluate("document.getElementById('readout').textContent")
        assert "fewest 4 at" in summary
        assert "2 alerts fired: DictRateLimitTokensLow, DictRateLimitTokensCritical." in summary

        await tab.point(".chart.tokens", 0.1)
        assert "90 of 100 tokens (90 %); used 9.5 / min; refill 1,200 / min" in await readout(tab)
        await tab.point(".chart.tokens", 0.5)
        assert "no data" in await readout(tab)
        await tab.point("h1", 0.5)
        assert await readout(tab) == summary

        await tab.evaluate("document.querySelector('.chart.tokens').focus()")
        await tab.press("Home")
        await tab.press("ArrowRight")
        assert "90 of 100 tokens" in await readout(tab)
        await tab.press("Escape")
        assert await readout(tab) == summary
        assert tab.complaints == []


async def readout(tab: Tab) -> str:
    return str(await tab.evaluate("document.getElementById('readout').textContent"))


@needs_chromium
async def test_local_time_stands_beside_utc(tmp_path: Path, database_dsn: str):
    async with opened(tmp_path, database_dsn) as (tab, site):
        await tab.in_zone("America/Sao_Paulo")
        await tab.go(f"{site.url}{BUCKET}?range=1h")

        await tab.shows("Times are UTC, and GMT-3 below.")
        utc, local = await tab.evaluate(
            "[...document.querySelectorAll('.times text')].slice(0, 2).map(t => t.textContent)"
        )

        assert (int(utc[:2]) - int(local[:2])) % 24 == 3
        assert utc[2:] == local[2:]


@needs_chromium
async def test_a_page_that_updates_itself_keeps_what_is_pointed_at(tmp_path: Path, database_dsn: str):
    async with opened(tmp_path, database_dsn) as (tab, site):
        await tab.go(f"{site.url}{BUCKET}?range=1h")
        await tab.evaluate("document.querySelector('.chart.tokens').focus()")
        await tab.press("Home")
        chart = "document.querySelector('.charts')"
        await tab.evaluate(f"window.before = {chart}")

        await tab.evaluate("document.getElementById('refresh').click()")

        await tab.until(lambda: tab.evaluate(f"{chart} !== window.before"))
        await tab.until(lambda: tab.evaluate("!!document.querySelector('.pointer.shown')"))


@needs_chromium
async def test_without_scripts_the_pages_are_whole_and_the_filter_works(tmp_path: Path, database_dsn: str):
    async with opened(tmp_path, database_dsn) as (tab, site):
        await tab.without_scripts()
        await tab.go(site.url)
        await tab.follow(f"#rows a[href*={POLICY}]")
        await tab.shows("Tokens left")
        assert len(await tab.evaluate("document.querySelector('.chart .line').getAttribute('d')")) > 10
        await tab.follow(".ranges a[href*='7d']")
        await tab.shows("Last 7 days")

        await tab.go(site.url + "alerts")
        await tab.evaluate("document.getElementById('filter-severity').value = 'critical'")
        await tab.follow("button[type=submit]")

        assert await tab.evaluate("document.querySelectorAll('.past tbody tr').length") == 1
        await tab.shows("4 of 100")
        await tab.follow(".past td a")
        await tab.shows("6 hours around")
        assert await tab.evaluate("document.querySelectorAll('.chart .at').length") == 2


@needs_chromium
async def test_past_alerts_are_sorted_by_their_columns(tmp_path: Path, database_dsn: str):
    async with opened(tmp_path, database_dsn) as (tab, site):
        await tab.go(site.url + "alerts")
        names = "[...document.querySelectorAll('.past tbody th')].map(h => h.textContent.trim())"
        assert await tab.evaluate(names) == ["DictRateLimitTokensCritical", "DictRateLimitTokensLow"]

        await tab.follow(".past thead a[href*='sort=began']")

        assert await tab.evaluate(names) == ["DictRateLimitTokensLow", "DictRateLimitTokensCritical"]
        assert await tab.evaluate("document.querySelector('[aria-sort]').getAttribute('aria-sort')") == "ascending"


async def test_the_chart_shows_the_gap_the_lines_and_the_alerts(database_dsn: str):
    async with serving(database_dsn) as site, httpx.AsyncClient(timeout=30) as client:
        page = (await client.get(f"{site.url}{BUCKET}?range=1h")).text

    values = json.loads(page.partition('data-chart="')[2].partition('"')[0].replace("&#34;", '"'))["values"]
    known = [value[0] for value in values if value is not None]
    assert {90, 15, 4} <= set(known)
    assert 100 <= values.count(None) <= 130  # ten of sixty minutes
    assert page.count('class="band warning"') == page.count('class="band critical"') == 1


async def test_a_page_that_waits_for_a_locked_table_delays_nobody_and_shows_the_present(
    database_dsn: str, superuser_dsn: str
):
    async with serving(database_dsn) as site, httpx.AsyncClient(timeout=30) as client:
        with psycopg.connect(superuser_dsn) as other:
            other.execute("LOCK TABLE dict_rate_limit_state_rows IN ACCESS EXCLUSIVE MODE")
            waiting = [asyncio.create_task(client.get(f"{site.url}{BUCKET}")) for _ in range(3)]
            scrapes = 0
            while not any(task.done() for task in waiting):
                assert (await client.get(f"{site.url}metrics")).status_code == 200
                scrapes += 1
            pages = [(await task).text for task in waiting]

    assert scrapes > 10
    assert all("History not available: PostgreSQL" in page for page in pages)
    assert all("90 of 100 tokens" in page for page in pages)


def test_a_program_shows_its_buckets_with_their_past_and_explains_its_rules(database_dsn: str, tmp_path: Path):
    with programs() as start:
        bridge = start(Bridge(tmp_path))
        program = start(Program("run", **bridge.settings, DATABASE__DSN=database_dsn)).ready()
        url = f"{program.url}/buckets/{bridge.participants[0]}/KEYS_CHECK?range=1h"

        def page(words: str) -> bool:
            return words in httpx.get(url, timeout=30).text

        wait_until(lambda: page("firing</span> Dict"), what="a rule that fires to be explained")
        wait_until(lambda: page('class="band warning"'), what="the alert to be drawn")
        wait_until(lambda: page("It fired for"), what="what it waited for")
        assert "DictRateLimitTokensLow" in httpx.get(f"{program.url}/alerts", timeout=30).text.replace("<wbr>", "")
        # Nothing looks broken for long, also not the rule about a category that never changed.
        missing = "no series yet of"
        wait_until(
            lambda: missing not in httpx.get(program.url, timeout=30).text, what="every selector to have a series"
        )


def test_an_exporter_shows_the_present_of_its_buckets(tmp_path: Path):
    with programs() as start:
        bridge = start(Bridge(tmp_path))
        program = start(Program("exporter", **bridge.settings)).ready()

        found = httpx.get(f"{program.url}/buckets/{bridge.participants[0]}/KEYS_CHECK", timeout=30)

    assert found.status_code == 200
    assert "This process has no database" in found.text

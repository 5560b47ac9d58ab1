"""The status page in a real browser: it updates itself, works by keyboard, and says nothing on the console."""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.alerts.alert import AlertState
from exporter.health import Dependency, Readiness
from exporter.metrics import Metrics
from exporter.web.app import create_app
from exporter.web.sources import RuleGroupStatus, RuleStatus, Sources
from tests.support.builders import PARTICIPANT, alert, at, bucket, failed, observed, poll, view
from tests.support.chromium import CHROMIUM, Tab, browser
from tests.support.http import serving, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import View
    from exporter.web.server.server import WebServer

REFRESH_SECONDS = 0.2
RULE = RuleStatus("TokensLow", "dict_rate_limit_up == 0", 60.0, 0.0, {"severity": "warning"}, health="ok")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed")


class World:
    """What the page is about; a test changes it while the page is open."""

    def __init__(self) -> None:
        self.views: dict[Ispb, View] = {}
        self.alerts = [alert(), alert("Pending", state=AlertState.PENDING, policy=None)]
        self.show(3_000)

    def show(self, available: int) -> None:
        figures = observed(bucket(available), rate=1_500.0, empty=600.0)
        others = [bucket(number, policy=f"POLICY_{number:02d}", capacity=100) for number in range(5, 70)]
        self.views[PARTICIPANT] = view(poll(figures, *others, clock_skew_seconds=0.5))
        other = poll(bucket(20, capacity=20), participant="87654321")
        self.views[other.participant] = view(other, failed(15, participant="87654321"))

    def seen(self) -> dict[Ispb, View]:
        return self.views

    def sources(self) -> Sources:
        needed = [Dependency("database", ok=True, message="leading"), Dependency("broker", ok=False, message="away")]
        broken = RuleStatus("Broken", "up == 0", 0.0, 0.0, health="err", last_error="many-to-many", evaluated_at=at(0))
        return Sources(
            metrics=Metrics(),
            views=self.seen,
            readiness=lambda: Readiness(ready=True, dependencies=needed),
            open_alerts=lambda: self.alerts,
            rules=lambda: [RuleGroupStatus("dict", "rules/a.yml", 0.0, [RULE, broken])],
        )


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Tab, World, WebServer, str]]:
    """A browser beside a server, and the page's address."""
    world = World()
    app = create_app(world.sources(), settings(), refresh_seconds=REFRESH_SECONDS)
    async with serving(app) as server, browser(folder) as tab:
        yield tab, world, server, f"http://{server.addresses[0]}/"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_console_is_silent_and_nothing_is_wider_than_the_screen(tmp_path: Path, scheme: str):
    async with opened(tmp_path) as (tab, world, _, url):
        long = alert("DictRateLimitExhaustionProjected", policy="INFRACTION_REPORTS_LIST_WITHOUT_ROLE")
        world.alerts = [alert("DictRateLimitTokensCritical"), alert("DictRateLimitTokensLow"), long]
        slow = bucket(9, policy="INFRACTION_REPORTS_LIST_WITHOUT_ROLE", capacity=50, refill_period_seconds=86_400)
        world.views[PARTICIPANT] = view(poll(observed(bucket(3_000), rate=15_012.0, empty=600.0), observed(slow)))
        for width in (320, 390, 768, 1024, 1366, 1920):
            await tab.go(url, scheme, width)
            await tab.shows("8.3 %")

            assert await tab.evaluate("document.documentElement.scrollWidth") <= width
            # No column is cut off, nor hidden behind a scroll bar.
            cut = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
            assert await tab.evaluate(cut) == 0, width
        assert tab.complaints == []


@pytest.mark.skipif(find_spec("axe_core_python") is None, reason="the wheel axe-core-python is not installed")
@pytest.mark.parametrize("width", [1360, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_inaccessible(tmp_path: Path, scheme: str, width: int):
    axe = find_spec("axe_core_python")
    assert axe is not None
    assert axe.origin is not None
    async with opened(tmp_path) as (tab, _, _, url):
        await tab.go(url + "?participant=12345678", scheme, width)
        await tab.evaluate("document.getElementById('pause').click()")
        await tab.evaluate("document.querySelectorAll('#rules details').forEach(d => { d.open = true; })")
        await tab.evaluate(Path(axe.origin).with_name("axe.min.js").read_text(encoding="utf-8") + "; null")

        found = await tab.evaluate("axe.run().then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html)]))")

        assert found == []
        assert await tab.evaluate("axe.run().then(r => r.passes.length)") > 20


async def test_the_page_updates_itself_and_keeps_focus_and_what_is_unfolded(tmp_path: Path):
    async with opened(tmp_path) as (tab, world, _, url):
        await tab.go(url)
        await tab.evaluate("document.querySelector('#rules details').open = true")
        await tab.evaluate("document.querySelector('#rows tbody a').focus()")
        focused = await tab.evaluate("document.activeElement.getAttribute('href')")

        world.show(1_800)

        await tab.shows("5.0 %")
        assert await tab.evaluate("document.activeElement.getAttribute('href')") == focused
        assert await tab.evaluate("document.querySelector('#rules details').open")
        assert tab.complaints == []


async def test_focus_stays_on_a_bucket_that_moves(tmp_path: Path):
    async with opened(tmp_path) as (tab, world, _, url):
        await tab.go(url)
        await tab.evaluate("document.querySelector('#rows a[href*=POLICY_05]').focus()")

        # Without its alert ENTRIES_WRITE is no longer the first.
        world.alerts = []
        await tab.until(
            lambda: tab.evaluate("document.querySelector('#rows tbody th a').textContent.startsWith('POLICY_05')")
        )

        assert "POLICY_05" in await tab.evaluate("document.activeElement.getAttribute('href') ?? ''")


async def test_updates_can_be_paused_and_asked_for(tmp_path: Path):
    async with opened(tmp_path) as (tab, world, _, url):
        await tab.go(url)
        await tab.shows("8.3 %")
        await tab.evaluate("document.getElementById('pause').click()")
        assert await tab.evaluate("document.getElementById('pause').textContent") == "Resume updates"

        world.show(1_800)
        await tab.evaluate(f"new Promise(done => setTimeout(done, {5_000 * REFRESH_SECONDS}))")
        assert await tab.evaluate("document.body.innerText.includes('8.3 %')")
        await tab.evaluate("document.getElementById('refresh').click()")

        await tab.shows("5.0 %")


async def test_the_page_says_that_its_figures_are_old_when_nobody_answers(tmp_path: Path):
    async with opened(tmp_path) as (tab, _, server, url):
        await tab.go(url)

        await server.stop()

        await tab.shows("No answer: these figures are old.")
        await tab.shows("8.3 %")


async def test_the_filter_works_by_keyboard(tmp_path: Path):
    async with opened(tmp_path) as (tab, _, _, url):
        await tab.go(url)
        await tab.press("Tab")
        assert await tab.evaluate("document.activeElement.className") == "skip"

        await tab.evaluate("document.getElementById('filter-participant').focus()")
        await tab.type("8765")
        await tab.press("Enter", "\r")

        await tab.shows("1 bucket.")
        assert "participant=8765" in await tab.evaluate("location.search")
        assert await tab.evaluate("document.getElementById('filter-participant').value") == "8765"


async def test_pages_are_turned(tmp_path: Path):
    async with opened(tmp_path) as (tab, _, _, url):
        await tab.go(url)
        await tab.shows("Page 1 of 2")

        await tab.follow("a[rel=next]")

        await tab.shows("Page 2 of 2")
        assert tab.complaints == []


async def test_a_filter_by_policy_and_level_is_chosen_and_taken_back(tmp_path: Path):
    async with opened(tmp_path) as (tab, _, _, url):
        await tab.go(url)
        await tab.evaluate("document.getElementById('filter-policy').value = 'POLICY_07'")
        await tab.evaluate("document.getElementById('filter-level').value = 'critical'")
        await tab.follow("button[type=submit]")
        await tab.shows("1 bucket.")
        assert "policy=POLICY_07&level=critical" in await tab.evaluate("location.search")

        await tab.follow("form a")

        await tab.shows("of 67 buckets.")
        assert tab.complaints == []


async def test_the_figures_at_the_top_lead_to_their_buckets(tmp_path: Path):
    async with opened(tmp_path) as (tab, _, _, url):
        await tab.go(url)
        critical = await tab.evaluate("document.querySelector('.tile a[href*=critical] strong').textContent")

        await tab.follow(".tile a[href*=critical]")

        await tab.shows(f"{critical} buckets.")
        assert await tab.evaluate("document.title") == f"({critical}) DICT rate limits"


async def test_all_alerts_are_shown_where_asked_for(tmp_path: Path):
    async with opened(tmp_path) as (tab, world, _, url):
        world.alerts = [alert(f"Alert{number:02d}") for number in range(30)]
        await tab.go(url)
        await tab.shows("and 20 more")

        await tab.follow("#alerts a[href*=all]")

        await tab.shows("Alert29")
        assert tab.complaints == []


async def test_without_scripts_the_page_is_whole_and_its_filter_works(tmp_path: Path):
    async with opened(tmp_path) as (tab, _, _, url):
        await tab.without_scripts()
        await tab.go(url)
        await tab.shows("8.3 %")
        assert not await tab.evaluate("document.getElementById('pause')")

        await tab.evaluate("document.getElementById('filter-participant').focus()")
        await tab.type("8765")
        await tab.press("Enter", "\r")

        await tab.shows("1 bucket.")


async def test_every_control_is_reached_by_keyboard(tmp_path: Path):
    async with opened(tmp_path) as (tab, _, _, url):
        await tab.go(url)
        await tab.evaluate("document.getElementById('pause').click()")
        controls = await tab.evaluate(
            "[...document.querySelectorAll('a, button, input, select, summary, .scroll')].length"
        )
        reached = set()
        for _ in range(controls):
            await tab.press("Tab")
            reached.add(await tab.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))

        assert len(reached) == controls


async def test_31_000_buckets_are_shown_and_kept_current(tmp_path: Path):
    async with opened(tmp_path) as (tab, world, _, url):
        buckets = [bucket(900, policy=f"POLICY_{number:02d}", capacity=1_000) for number in range(31)]
        for number in range(998):
            made = poll(*buckets, participant=f"{number:08d}")
            world.views[made.participant] = view(made)
        await tab.go(url)
        await tab.shows("of 31,005 buckets.")

        world.show(1_800)

        await tab.shows("5.0 %")
        assert await tab.evaluate("document.querySelectorAll('.buckets tbody tr').length") == 50
        assert tab.complaints == []

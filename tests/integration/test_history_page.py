"""A backtest's HTML report in a real browser: nothing to complain of, readable in light and dark."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from exporter.backtest.html import html
from exporter.history.replay import Gap
from tests.support.builders import at
from tests.support.chromium import CHROMIUM, browser
from tests.support.reports import episode, reported

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed")


@pytest.fixture
def report(tmp_path: Path) -> str:
    backtest = reported(
        [episode(0, 60), episode(600, 720), *(episode(60.0 * n, 60.0 * n + 30, "High") for n in range(30))],
        [episode(0, 60), episode(630, 720), episode(3000, None, policy="CLAIMS_READ")],
        gaps=[Gap(at(1800), at(2400))],
    )
    file = tmp_path / "backtest.html"
    file.write_text(html(backtest, 50), "utf-8")
    return file.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 390])
async def test_axe_finds_nothing_inaccessible(tmp_path: Path, report: str, scheme: str, width: int):
    axe = find_spec("axe_core_python")
    assert axe is not None
    assert axe.origin is not None
    async with browser(tmp_path) as tab:
        await tab.go(report, scheme, width)
        await tab.evaluate(Path(axe.origin).with_name("axe.min.js").read_text(encoding="utf-8") + "; null")

        violations = await tab.evaluate("axe.run().then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html)]))")

        assert violations == []
        assert await tab.evaluate("axe.run().then(r => r.passes.length)") > 15
        assert await tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.complaints == []


async def test_a_bar_is_where_its_alert_fired(tmp_path: Path, report: str):
    async with browser(tmp_path) as tab:
        await tab.go(report)

        gap = "document.querySelector('rect.gap').getBoundingClientRect()"
        track = "document.querySelector('rect.gap').ownerSVGElement.getBoundingClientRect()"
        share = await tab.evaluate(f"({gap}.x - {track}.x) / {track}.width")

        assert share == pytest.approx(0.5, abs=0.01)

"""A real Prometheus, of each release, scrapes the program, loads the same rules, and reaches the same verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.program import ROOT, RULES, Bridge, Program, wait_until
from tests.support.prometheus import Timeline, run, servers
from tests.support.releases import RELEASES, SERVERS, binary, present

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.prometheus import Prometheus

pytestmark = [pytest.mark.postgres, pytest.mark.prometheus]

TOLERANCE_SECONDS = 5.0
"""Two polls or evaluations apart at each end."""
FIRE = {
    "DictRateLimitTokensLow",
    "DictRateLimitTokensCritical",
    "DictRateLimitBucketEmpty",
    "DictRateLimitExhaustionProjected",
    "DictRateLimitHigh404Rate",
    "DictRateLimitCategoryChanged",
}
OUTAGE = "DictRateLimitBridgeNotAnswering"

# Every alert of the shipped rules comes; each state lasts for tens of seconds: KEYS_CHECK comes down to 5 %, and one
# refill more or less keeps it above empty, which one poll may see and no scrape.
# The category changes while nothing else happens: estimates begin anew then, for the second between two polls, and
# whether a scrape falls into it is chance.
SCENARIO = """
description: One bucket low, one dry, one draining, one scanned; the category changes; the Bridge goes away.
step: 1s
category: F
sizes:
  POLICIES_LIST: {capacity: 10000, refill_tokens: 6000}
  KEYS_CHECK: {capacity: 7000, refill_tokens: 150, refill_period: 1s}
  ENTRIES_WRITE: {capacity: 36000, refill_tokens: 1, refill_period: 1s}
  CLAIMS_LIST_WITHOUT_ROLE: {capacity: 50, refill_tokens: 1, refill_period: 60s}
traffic:
  - policies: [KEYS_CHECK]
    from: 24s
    until: 29s
    requests_per_minute: 88800
  - policies: [KEYS_CHECK]
    from: 29s
    until: 59s
    requests_per_minute: 9000
  - policies: [CLAIMS_LIST_WITHOUT_ROLE]
    from: 34s
    requests_per_minute: 3000
  - policies: [ENTRIES_WRITE]
    from: 26s
    until: 94s
    requests_per_minute: 6060
  - policies: [CLAIMS_READ]
    from: 22s
    requests_per_minute: 600
    not_found: 0.5
category_changes:
  - {at: 20s, category: E}
faults:
  - {kind: outage, from: 69s, until: 89s}
"""


@pytest.fixture
def serve() -> Iterator[Callable[[Any], Any]]:
    with servers() as start:
        yield start


def scraping(program: Program, folder: Path, release: str) -> Prometheus:
    return SERVERS[release].scraping(folder, {"dict-rate-limit": [f"127.0.0.1:{program.port}"]}, rules=[RULES])


def identities(alerts: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    """Alerts without what the scrape adds."""
    return {
        (
            alert["state"],
            tuple(sorted((n, v) for n, v in alert["labels"].items() if n not in ("job", "instance"))),
        )
        for alert in alerts
    }


def name_of(alert: tuple[Any, ...]) -> str:
    _, labels = alert
    return str(dict(labels)["alertname"])


def unmatched(timeline: Timeline, other: Timeline) -> list[Any]:
    """What one of them held for a while, and the other did not at the same time."""
    tolerance = TOLERANCE_SECONDS + max(timeline.longest_gap_seconds, other.longest_gap_seconds)
    return [
        (alert, span, other.spans.get(alert))
        for alert, spans in timeline.spans.items()
        for span in spans
        if span[1] - span[0] > 2 * tolerance
        and not any(span == pytest.approx(theirs, abs=tolerance) for theirs in other.spans.get(alert, ()))
    ]


def test_prometheus_and_the_reconciler_hold_the_same_alerts_at_the_same_times(
    tmp_path, start, serve, database_dsn
) -> None:
    bridge = Bridge(tmp_path, SCENARIO)
    settings = {**bridge.settings, "POLL__STALENESS": "5m", "DATABASE__DSN": database_dsn}
    program = start(Program("run", **settings))
    start(bridge)  # after it: on a busy machine its start would take up the scenario's first seconds
    program.ready()
    releases = {release: serve(scraping(program, tmp_path, release)) for release in present()}
    for prometheus in releases.values():
        wait_until(prometheus.scrapes, what="Prometheus to scrape")

    ours, theirs = Timeline(), {release: Timeline() for release in releases}

    def all_has_come_to_pass() -> bool:
        ours.look(identities(program.get("/api/v1/alerts")["data"]["alerts"]))
        for release, prometheus in releases.items():
            theirs[release].look(identities(prometheus.alerts()))
        return all(
            {name_of(alert) for alert in timeline.seen if alert[0] == "firing"} >= FIRE
            and OUTAGE in {name_of(alert) for alert in timeline.seen}
            and OUTAGE not in {name_of(alert) for alert in timeline.there}
            for timeline in (ours, *theirs.values())
        )

    wait_until(all_has_come_to_pass, within_seconds=240, every_seconds=0.2, what="every alert, in each")

    for release, timeline in theirs.items():
        assert unmatched(ours, timeline) == unmatched(timeline, ours) == [], release


@pytest.mark.parametrize("release", RELEASES)
def test_both_write_an_alert_alike(release, tmp_path, start, serve, database_dsn) -> None:
    bridge = start(Bridge(tmp_path, SCENARIO.replace("from: 34s", "from: 0s")))
    program = start(Program("run", **bridge.settings, DATABASE__DSN=database_dsn)).ready()
    prometheus = serve(scraping(program, tmp_path, release))

    def empty(alerts: list[dict[str, Any]]) -> dict[str, Any]:
        return next((a for a in alerts if a["labels"]["alertname"] == "DictRateLimitBucketEmpty"), {})

    theirs = wait_until(lambda: empty(prometheus.alerts()), what="Prometheus to see an empty bucket")
    ours = wait_until(lambda: empty(program.get("/api/v1/alerts")["data"]["alerts"]))

    assert ours["labels"] == theirs["labels"]
    assert ours["annotations"] == theirs["annotations"]
    assert float(ours["value"]) == float(theirs["value"])
    assert ours["state"] == theirs["state"] == "firing"


def test_promtool_accepts_the_metrics(tmp_path, start) -> None:
    bridge = start(Bridge(tmp_path, participants=2))
    program = start(Program("exporter", **bridge.settings)).ready()
    wait_until(lambda: program.metric("dict_rate_limit_up") == 2)
    wait_until(lambda: program.metric("dict_rate_limit_consumption_rate_per_minute") is not None)

    metrics = httpx.get(program.url + "/metrics").text
    told = {release: run(binary("promtool", release), "check", "metrics", stdin=metrics) for release in present()}

    assert told == dict.fromkeys(told, (True, ""))


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("file", sorted((ROOT / "rules").glob("*.yml")), ids=lambda file: file.name)
def test_promtool_accepts_the_rules(file, release) -> None:
    accepted, told = run(binary("promtool", release), "check", "rules", file)

    assert accepted, told


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("file", sorted((ROOT / "rules" / "tests").glob("*.yml")), ids=lambda file: file.name)
def test_the_rules_do_what_their_unit_tests_say(file, release) -> None:
    accepted, told = run(binary("promtool", release), "test", "rules", file)

    assert accepted, told

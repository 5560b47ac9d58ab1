"""A real Prometheus scrapes the program, loads the same rules, and reaches the same verdict."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.program import ROOT, RULES, Bridge, Program, wait_until
from tests.support.prometheus import Prometheus, Timeline, run, servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.postgres, pytest.mark.prometheus]

WATCHED_SECONDS = 100
TOLERANCE_SECONDS = 5.0
"""Two polls or evaluations apart at each end, and a busy machine."""

# Every alert of the shipped rules comes; each state lasts for tens of seconds.
SCENARIO = """
description: One bucket low, one dry, one draining, one scanned; the category changes; the Bridge goes away.
step: 1s
category: F
sizes:
  POLICIES_LIST: {capacity: 10000, refill_tokens: 6000}
  KEYS_CHECK: {capacity: 700, refill_tokens: 60, refill_period: 1s}
  ENTRIES_WRITE: {capacity: 36000, refill_tokens: 1, refill_period: 1s}
  CLAIMS_LIST_WITHOUT_ROLE: {capacity: 50, refill_tokens: 1, refill_period: 60s}
traffic:
  - policies: [KEYS_CHECK]
    from: 10s
    until: 15s
    requests_per_minute: 11520
  - policies: [KEYS_CHECK]
    from: 15s
    until: 45s
    requests_per_minute: 3600
  - policies: [CLAIMS_LIST_WITHOUT_ROLE]
    from: 20s
    requests_per_minute: 3000
  - policies: [ENTRIES_WRITE]
    from: 12s
    until: 80s
    requests_per_minute: 6060
  - policies: [CLAIMS_READ]
    from: 8s
    requests_per_minute: 600
    not_found: 0.5
category_changes:
  - {at: 25s, category: E}
faults:
  - {kind: outage, from: 55s, until: 75s}
"""


@pytest.fixture
def serve() -> Iterator[Callable[[Any], Any]]:
    with servers() as start:
        yield start


def identities(alerts: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    """Alerts without what the scrape adds."""
    return {
        (
            alert["state"],
            tuple(sorted((n, v) for n, v in alert["labels"].items() if n not in ("job", "instance"))),
        )
        for alert in alerts
    }


def test_prometheus_and_the_reconciler_hold_the_same_alerts_at_the_same_times(
    tmp_path, start, serve, database_dsn
) -> None:
    bridge = start(Bridge(tmp_path, SCENARIO))
    settings = {**bridge.settings, "POLL__STALENESS": "5m", "DATABASE__DSN": database_dsn}
    program = start(Program("run", **settings)).ready()
    prometheus = serve(Prometheus.scraping(tmp_path, {"dict-rate-limit": [f"127.0.0.1:{program.port}"]}, rules=[RULES]))
    wait_until(prometheus.scrapes, what="Prometheus to scrape")

    ours, theirs = Timeline(), Timeline()
    end = time.monotonic() + WATCHED_SECONDS
    while time.monotonic() < end:
        ours.look(identities(program.get("/api/v1/alerts")["data"]["alerts"]))
        theirs.look(identities(prometheus.alerts()))
        time.sleep(0.2)  # between looks

    held = ours.spans(longer_than=TOLERANCE_SECONDS * 2)
    theirs_held = theirs.spans(longer_than=TOLERANCE_SECONDS * 2)
    names = {dict(labels)["alertname"] for state, labels in held if state == "firing"}
    assert names >= {
        "DictRateLimitTokensLow",
        "DictRateLimitTokensCritical",
        "DictRateLimitBucketEmpty",
        "DictRateLimitExhaustionProjected",
        "DictRateLimitHigh404Rate",
        "DictRateLimitCategoryChanged",
    }
    assert any(dict(labels)["alertname"] == "DictRateLimitBridgeNotAnswering" for _, labels in held)
    assert theirs_held.keys() == held.keys()
    for alert, spans in held.items():
        others = theirs_held[alert]
        assert len(others) == len(spans), (alert, spans, others)
        for span, other in zip(spans, others, strict=True):
            assert span == pytest.approx(other, abs=TOLERANCE_SECONDS), alert


def test_both_write_an_alert_alike(tmp_path, start, serve, database_dsn) -> None:
    bridge = start(Bridge(tmp_path, SCENARIO.replace("from: 20s", "from: 0s")))
    program = start(Program("run", **bridge.settings, DATABASE__DSN=database_dsn)).ready()
    prometheus = serve(Prometheus.scraping(tmp_path, {"dict-rate-limit": [f"127.0.0.1:{program.port}"]}, rules=[RULES]))

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

    accepted, told = run("promtool", "check", "metrics", stdin=httpx.get(program.url + "/metrics").text)

    assert accepted, told
    assert not told


@pytest.mark.parametrize("file", sorted((ROOT / "rules").glob("*.yml")), ids=lambda file: file.name)
def test_promtool_accepts_the_rules(file) -> None:
    accepted, told = run("promtool", "check", "rules", file)

    assert accepted, told

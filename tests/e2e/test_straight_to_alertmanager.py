"""Alerts that reach people without Prometheus: from the database to a real Alertmanager, and on to a receiver."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from alertmanager.generate import ALERTS
from tests.support.program import Bridge, Program, wait_until
from tests.support.prometheus import Alertmanager, Prometheus, Timeline, servers
from tests.support.receiver import Webhook, silence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.receiver import Arrived

pytestmark = [pytest.mark.postgres, pytest.mark.prometheus]

CRITICAL = "DictRateLimitTokensCritical"

# KEYS_CHECK falls to 5 % at 8 s, stays there until the given second, and recovers within five more.
SCENARIO = """
description: A bucket nearly empties at once, stays so, and recovers.
step: 1s
category: E
sizes:
  POLICIES_LIST: {{capacity: 10000, refill_tokens: 6000}}
  KEYS_CHECK: {{capacity: 1000, refill_tokens: 50, refill_period: 1s}}
traffic:
  - policies: [KEYS_CHECK]
    from: 8s
    until: 9s
    requests_per_minute: 57000
  - policies: [KEYS_CHECK]
    from: 9s
    until: {until}s
    requests_per_minute: 3000
"""


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    yield made
    made.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Any], Any]]:
    with servers() as begin:
        yield begin


@pytest.fixture
def alertmanager(tmp_path, serve, webhook) -> Alertmanager:
    made: Alertmanager = serve(Alertmanager(tmp_path, webhook.configuration(tmp_path)))
    return made


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()


def firing(alertmanager: Alertmanager, name: str = CRITICAL) -> list[dict[str, Any]]:
    return [alert for alert in alertmanager.alerts() if alert["labels"]["alertname"] == name]


def first(found: list[Arrived]) -> Arrived | None:
    return found[0] if found else None


def test_an_alert_and_its_end_reach_a_receiver_without_prometheus(
    tmp_path, start, alertmanager, webhook, database_dsn
) -> None:
    bridge = start(Bridge(tmp_path, SCENARIO.format(until=20)))
    (who,) = bridge.participants
    program = start(
        Program(
            "run",
            **bridge.settings,
            DATABASE__DSN=database_dsn,
            ALERTMANAGER__TARGETS=alertmanager.url,
            EXTERNAL_LABELS="region=sa-east-1",
        )
    ).ready()

    fired = wait_until(lambda: first(webhook.of(CRITICAL, "firing")), within_seconds=60, what="the alert")
    ended = wait_until(lambda: first(webhook.of(CRITICAL, "resolved")), within_seconds=60, what="its end")

    assert fired.alert["labels"] == {
        "alertname": CRITICAL,
        "severity": "critical",
        "participant": who,
        "policy": "KEYS_CHECK",
        "region": "sa-east-1",
    }
    ((began, over),) = rows(
        database_dsn,
        f"SELECT firing_since, resolved_at FROM dict_rate_limit_alerts WHERE alertname = '{CRITICAL}'",
    )
    assert abs(datetime.fromisoformat(fired.alert["startsAt"]) - began) < timedelta(milliseconds=1)
    assert abs(datetime.fromisoformat(ended.alert["endsAt"]) - over) < timedelta(milliseconds=1)
    assert fired.alert["generatorURL"] == f"{program.url}/?participant={who}&policy=KEYS_CHECK"
    shown = fired.alert["annotations"]
    assert shown["capacity"] == "1000"
    assert shown["used"].endswith(" %")
    assert int(shown["lowest"]) <= int(shown["tokens"]) <= 150
    assert "(" in shown["as_of"]
    assert shown["as_of"].endswith("-03)")
    assert "held" not in shown
    assert fired.at - began < timedelta(seconds=5)
    assert program.metric("dict_rate_limit_alertmanager_up", target=alertmanager.url) == 1
    assert program.metric("dict_rate_limit_notification_errors_total", target=alertmanager.url) == 0
    (dependency,) = [d for d in program.get("/-/ready")["dependencies"] if d["name"] == "alertmanager"]
    assert dependency == {"name": "alertmanager", "ok": True, "message": "ok"}


def test_an_alertmanager_that_says_nothing_delays_no_other(
    tmp_path, start, alertmanager, webhook, database_dsn
) -> None:
    with silence() as dead:
        bridge = start(Bridge(tmp_path, SCENARIO.format(until=60)))
        program = start(
            Program(
                "run",
                **bridge.settings,
                DATABASE__DSN=database_dsn,
                ALERTMANAGER__TARGETS=f"http://{dead},{alertmanager.url}",
                ALERTMANAGER__TIMEOUT="3s",
            )
        ).ready()

        fired = wait_until(lambda: first(webhook.of(CRITICAL, "firing")), within_seconds=60, what="the alert")

        assert fired.at - datetime.fromisoformat(fired.alert["startsAt"]) < timedelta(seconds=2.5)
        wait_until(
            lambda: program.metric("dict_rate_limit_alertmanager_up", target=f"http://{dead}") == 0,
            what="the dead one to be known as such",
        )
        assert program.metric("dict_rate_limit_alertmanager_up", target=alertmanager.url) == 1
        ready = program.get("/-/ready")
        assert ready["ready"]
        assert {
            "name": "alertmanager",
            "ok": False,
            "message": f"1 of 2 take alerts; http://{dead}: no answer within 3.0 s",
        } in ready["dependencies"]


def test_a_new_holder_neither_repeats_nor_resolves_an_alert(
    tmp_path, start, alertmanager, webhook, database_dsn
) -> None:
    bridge = start(Bridge(tmp_path, SCENARIO.format(until=90)))
    settings = {
        **bridge.settings,
        "DATABASE__DSN": database_dsn,
        "ALERTMANAGER__TARGETS": alertmanager.url,
        "ALERTMANAGER__RESEND_INTERVAL": "4s",  # good for 16 s: another takes over within 10
    }
    leader = start(Program("run", **settings)).ready()
    wait_until(lambda: leader.metric("dict_rate_limit_lease_held") == 1, what="the first to lead")
    waiting = start(Program("run", **settings)).ready()
    wait_until(lambda: webhook.of(CRITICAL, "firing"), within_seconds=60, what="the alert")
    (before,) = firing(alertmanager)

    leader.kill()
    seen = Timeline()

    def told_again() -> bool:
        seen.look({alert["status"]["state"] for alert in firing(alertmanager)})
        return bool(waiting.metric("dict_rate_limit_notifications_total"))

    wait_until(told_again, within_seconds=30, what="the other one to send")
    (after,) = firing(alertmanager)
    assert after["startsAt"] == before["startsAt"]
    assert len(seen.spans["active"]) == 1, "it was there all the time"
    wait_until(lambda: webhook.of(CRITICAL, "resolved"), within_seconds=120, what="the end, from the other one")
    assert len(webhook.of(CRITICAL, "firing")) == 1
    assert len(webhook.of(CRITICAL, "resolved")) == 1


@pytest.mark.parametrize("fate", ["stopped", "frozen"])
def test_a_database_that_is_away_for_longer_than_alerts_are_valid_ends_none(
    tmp_path, start, alertmanager, webhook, outage_postgres, fate
) -> None:
    bridge = start(Bridge(tmp_path, SCENARIO.format(until=45)))
    program = start(
        Program(
            "run",
            **bridge.settings,
            DATABASE__DSN=outage_postgres.database_dsn,
            ALERTMANAGER__TARGETS=alertmanager.url,
            ALERTMANAGER__RESEND_INTERVAL="1s",  # good for 4 s
        )
    ).ready()
    wait_until(lambda: webhook.of(CRITICAL, "firing"), within_seconds=60, what="the alert")
    up = lambda: program.metric("dict_rate_limit_alertmanager_up")  # noqa: E731

    outage_postgres.stop() if fate == "stopped" else outage_postgres.freeze()
    wait_until(lambda: up() is None, within_seconds=30, what="the lease to end, and the telling with it")
    sent = program.metric("dict_rate_limit_notifications_total")
    (held,) = firing(alertmanager)
    assert datetime.fromisoformat(held["endsAt"]) - datetime.fromisoformat(held["updatedAt"]) > timedelta(hours=23)
    wait_until(
        lambda: datetime.now().astimezone() - datetime.fromisoformat(held["updatedAt"]) > timedelta(seconds=8),
        what="twice the time that an alert is valid for",
    )
    assert program.metric("dict_rate_limit_notifications_total") == sent, "nothing is said without the lease"
    assert firing(alertmanager)

    outage_postgres.start() if fate == "stopped" else outage_postgres.thaw()
    wait_until(lambda: webhook.of(CRITICAL, "resolved"), within_seconds=90, what="its end")
    assert len(webhook.of(CRITICAL, "firing")) == 1
    assert not firing(alertmanager)
    assert up() == 1


def test_what_prometheus_sends_too_is_one_alert(tmp_path, start, serve, alertmanager, webhook, database_dsn) -> None:
    bridge = start(Bridge(tmp_path, SCENARIO.format(until=50)))
    program = start(
        Program(
            "run",
            **bridge.settings,
            DATABASE__DSN=database_dsn,
            ALERTMANAGER__TARGETS=alertmanager.url,
        )
    ).ready()
    prometheus = serve(
        Prometheus.scraping(
            tmp_path,
            {"dict-rate-limit": [program.url.removeprefix("http://")]},
            rules=[ALERTS],
            alertmanager=alertmanager.address,
        )
    )

    def generators() -> set[str]:
        return {alert["generatorURL"].split("/")[2] for alert in firing(alertmanager)}

    wait_until(lambda: webhook.of(CRITICAL, "firing"), within_seconds=60, what="the alert")
    wait_until(lambda: prometheus.address in generators(), within_seconds=60, what="Prometheus to send it, too")

    assert len(firing(alertmanager)) == 1
    wait_until(lambda: not firing(alertmanager), within_seconds=120, what="its end, from both")
    assert len(webhook.of(CRITICAL, "firing")) == 1

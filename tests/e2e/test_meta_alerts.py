"""Each alert about the program itself, raised in a real Prometheus by breaking what it is about."""

from __future__ import annotations

import re
import signal
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
import yaml
from psycopg.conninfo import make_conninfo

from alertmanager.generate import META_ALERTS
from tests.support.ports import free_port
from tests.support.postgres import OutagePostgres, bin_directory, prepare
from tests.support.program import RULES, Bridge, Program, programs, wait_until
from tests.support.prometheus import Alertmanager, Prometheus, servers
from tests.support.receiver import Webhook
from tests.support.topic import client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.broker import PulsarServer

pytestmark = [pytest.mark.postgres, pytest.mark.pulsar]

MANY_TO_MANY = """
groups:
- name: own
  rules:
  - alert: Failing
    expr: dict_rate_limit_available_tokens / on (participant) dict_rate_limit_capacity > 0
    labels: {severity: info}
"""


def hurried(file: Path) -> Path:
    """Returns the alerts as they are, but for how long they wait, which is seconds here."""
    groups = yaml.safe_load(META_ALERTS.read_text())
    for rule in groups["groups"][0]["rules"]:
        rule.pop("for", None)
        rule["expr"] = re.sub(r"> (300|60)\b", "> 5", re.sub(r"\[\d+m\]", "[20s]", rule["expr"]))
    file.write_text(yaml.safe_dump(groups))
    return file


@dataclass
class Watched:
    """An exporter, a reconciler, what they need, and a Prometheus that watches them."""

    database: OutagePostgres
    broker: PulsarServer
    topic: str
    exporter: Program
    reconciler: Program
    rules: Path
    prometheus: Prometheus
    alertmanager: Alertmanager

    def firing(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.prometheus.alerts() if alert["state"] == "firing"}

    @contextmanager
    def raises(self, *alerts: str) -> Iterator[None]:
        """What is done within makes these fire; they resolve afterwards."""
        try:
            wait_until(lambda: not self.firing(), what="nothing to fire")
        except AssertionError as error:
            error.add_note(f"firing: {', '.join(sorted(self.firing()))}")
            raise
        yield
        wait_until(lambda: not self.firing() & set(alerts), what=f"{alerts} to resolve")

    def fires(self, *alerts: str) -> None:
        wait_until(lambda: set(alerts) <= self.firing(), what=f"{alerts} to fire")

    def as_superuser(self, *statements: str) -> None:
        dsn = make_conninfo(self.database.dsn, dbname="dict_rate_limit")
        with psycopg.connect(dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def producer(self) -> str | None:
        """The name under which the relay sends: another one after the database, or the broker, forgot something."""
        last = "SELECT producer FROM dict_rate_limit_outbox WHERE producer IS NOT NULL ORDER BY id DESC LIMIT 1"
        with psycopg.connect(make_conninfo(self.database.dsn, dbname="dict_rate_limit")) as connection:
            found = connection.execute(last).fetchone()
        return found[0] if found else None

    def reload(self, rules: str) -> None:
        self.rules.write_text(rules)
        assert self.reconciler.process is not None
        self.reconciler.process.send_signal(signal.SIGHUP)


@pytest.fixture(scope="module")
def watched(tmp_path_factory, shared_pulsar: PulsarServer) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    programs_of_postgres = bin_directory()
    assert programs_of_postgres is not None
    with ExitStack() as stack:
        database = OutagePostgres(programs_of_postgres, synchronous_commit="on")  # or a crash makes it an older copy
        stack.callback(database.remove)
        prepare(database.dsn, "dict_rate_limit")
        start = stack.enter_context(programs())
        bridge = start(Bridge(folder))
        feed = f"127.0.0.1:{free_port()}"
        rules = folder / "rules.yml"
        rules.write_text(RULES.read_text())
        topic = shared_pulsar.topic(deduplication=True)
        serve = stack.enter_context(servers())
        webhook = Webhook()
        stack.callback(webhook.close)
        alertmanager = serve(Alertmanager(folder, webhook.configuration(folder)))
        exporter = start(
            Program("exporter", **bridge.settings, FEED__LISTEN_ADDRESS=feed, FEED__INSECURE="true")
        ).ready()
        reconciler = start(
            Program(
                "reconciler",
                FEED__TARGETS=feed,
                FEED__INSECURE="true",
                DATABASE__DSN=database.database_dsn,
                DATABASE__CONNECT_TIMEOUT="2s",
                PULSAR__SERVICE_URL=shared_pulsar.url,
                PULSAR__TOPIC=topic,
                ALERTMANAGER__TARGETS=alertmanager.url,
                ALERTMANAGER__RESEND_INTERVAL="2s",
                RULES__FILES=rules,
                RULES__RELOAD_INTERVAL="1h",
                POLL__INTERVAL="1s",
                POLL__STALENESS="10s",
                BRIDGE__TIMEOUT="1s",
            )
        ).ready()
        prometheus = serve(
            Prometheus.scraping(
                folder,
                {
                    "dict-rate-limit-exporter": [exporter.url.removeprefix("http://")],
                    "dict-rate-limit-reconciler": [reconciler.url.removeprefix("http://")],
                },
                rules=[hurried(folder / "meta-alerts.yml")],
            )
        )
        wait_until(lambda: prometheus.query("dict_rate_limit_lease_held == 1"), what="Prometheus to see a leader")
        yield Watched(database, shared_pulsar, topic, exporter, reconciler, rules, prometheus, alertmanager)
        shared_pulsar.restore()


def test_a_database_that_is_away(watched: Watched) -> None:
    with watched.raises("DictRateLimitDatabaseAway", "DictRateLimitRulesNotEvaluated", "DictRateLimitReconcilerGone"):
        watched.database.stop()
        watched.fires("DictRateLimitDatabaseAway", "DictRateLimitRulesNotEvaluated", "DictRateLimitReconcilerGone")
        watched.database.start()


def test_a_broker_that_is_away(watched: Watched) -> None:
    with watched.raises("DictRateLimitBrokerAway", "DictRateLimitOutboxLagging"):
        watched.broker.stop()
        watched.fires("DictRateLimitBrokerAway", "DictRateLimitOutboxLagging")
        watched.broker.start()


def test_an_alertmanager_that_is_away(watched: Watched) -> None:
    with watched.raises("DictRateLimitAlertmanagerAway"):
        watched.alertmanager.stop()
        watched.fires("DictRateLimitAlertmanagerAway")
        watched.alertmanager.start()


def test_a_feed_that_is_silent(watched: Watched) -> None:
    with watched.raises("DictRateLimitFeedLost", "DictRateLimitExporterGone"):
        watched.exporter.freeze()
        watched.fires("DictRateLimitFeedLost", "DictRateLimitExporterGone")
        watched.exporter.thaw()


def test_a_rule_that_fails(watched: Watched) -> None:
    with watched.raises("DictRateLimitRuleFailing"):
        watched.reload(MANY_TO_MANY)
        watched.fires("DictRateLimitRuleFailing")
        watched.reload(RULES.read_text())


def test_a_rule_file_that_is_refused(watched: Watched) -> None:
    with watched.raises("DictRateLimitReloadFailed"):
        watched.reload("groups: [")
        watched.fires("DictRateLimitReloadFailed")
        watched.reload(RULES.read_text())


def test_polls_that_the_database_refuses(watched: Watched) -> None:
    with watched.raises("DictRateLimitPollsDropped"):
        watched.as_superuser(
            "ALTER TABLE dict_rate_limit_reconciliation_rows ADD CONSTRAINT none CHECK (duration_seconds < 0) NOT VALID"
        )
        watched.fires("DictRateLimitPollsDropped")
        watched.as_superuser("ALTER TABLE dict_rate_limit_reconciliation_rows DROP CONSTRAINT none")


def test_a_month_without_its_partition(watched: Watched) -> None:
    with watched.raises("DictRateLimitPartitionMissing"):
        month = f"dict_rate_limit_state_rows_{datetime.now(UTC):%Y_%m}"
        watched.as_superuser(f"ALTER TABLE dict_rate_limit_state_rows DETACH PARTITION {month}")
        watched.fires("DictRateLimitPartitionMissing")
        watched.as_superuser(f"ALTER TABLE {month} RENAME TO put_aside")


def test_an_event_that_is_too_large(watched: Watched) -> None:
    with watched.raises("DictRateLimitEventsDead"):
        watched.as_superuser(
            "INSERT INTO dict_rate_limit_outbox (event_id, fingerprint, type, event_time, subject, body)"
            " VALUES (gen_random_uuid(), 'large', 'dict.rate_limit.alert.firing', now(), 'large',"
            " (SELECT jsonb_agg(md5(n::text)) FROM generate_series(1, 200000) AS n))"
        )
        watched.fires("DictRateLimitEventsDead")


def test_a_broker_that_takes_new_events_for_repeats(watched: Watched) -> None:
    wait_until(watched.producer, what="an event to be sent")
    with watched.raises("DictRateLimitReceiptDefects"):
        watched.reconciler.freeze()  # for less than its lease, and it keeps its producer
        watched.broker.admin("PUT", f"{watched.topic.replace('://', '/')}/unload")
        impostor = client(watched.broker.url)
        producer = impostor.create_producer(watched.topic, producer_name=watched.producer())
        producer.send(b"{}", properties={"ce_id": "0"}, sequence_id=1_000_000)
        impostor.close()
        watched.reconciler.thaw()
        watched.fires("DictRateLimitReceiptDefects")

"""Exporter and reconciler as two processes, with mutual TLS between them."""

from __future__ import annotations

import signal

import pytest

from tests.support import truth
from tests.support.certificates import Authority
from tests.support.metrics import TEN_SAMPLES
from tests.support.ports import free_port
from tests.support.program import Bridge, Program, wait_until

pytestmark = pytest.mark.postgres


@pytest.fixture
def split(tmp_path, database_dsn):
    """The settings of an exporter and of a reconciler that follows it."""
    tls = Authority(tmp_path).tls("peer")
    feed = {f"FEED__TLS__{name.upper()}": getattr(tls, name) for name in ("ca_file", "cert_file", "key_file")}
    address = f"localhost:{free_port()}"
    exporter = {**feed, "FEED__LISTEN_ADDRESS": address}
    reconciler = {
        **feed,
        "FEED__TARGETS": address,
        "DATABASE__DSN": database_dsn,
        "POLL__INTERVAL": "1s",
        "POLL__STALENESS": "10s",
        "BRIDGE__TIMEOUT": "1s",
    }
    return exporter, reconciler


def test_the_exporter_serves_all_ten_metrics_of_a_reconciler_elsewhere(tmp_path, start, split, database_dsn) -> None:
    bridge = start(Bridge(tmp_path, participants=2))
    exporter = start(Program("exporter", **bridge.settings, **split[0])).ready()
    reconciler = start(Program("reconciler", **split[1])).ready()

    fired = "dict_rate_limit_alerts_created_total"
    wait_until(lambda: (exporter.metric(fired) or 0) > 4)
    wait_until(lambda: {name for name, _, _ in exporter.samples()} >= TEN_SAMPLES, within_seconds=90)
    assert reconciler.stop() == 0
    assert exporter.stop() == 0

    found = truth.check(database_dsn)
    assert not found.gaps()


def test_an_exporter_outlives_a_hangup(tmp_path, start) -> None:
    bridge = start(Bridge(tmp_path))
    exporter = start(Program("exporter", **bridge.settings)).ready()

    exporter.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "SIGHUP" in exporter.output())

    assert exporter.answers()
    assert exporter.stop() == 0


def test_a_dead_exporter_raises_an_alert_and_a_new_one_resolves_it(tmp_path, start, split, database_dsn) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(
        "groups:\n- name: a\n  rules:\n  - alert: Silent\n    expr: max by (participant) (dict_rate_limit_up) == 0\n"
        "    labels: {severity: critical}\n"
    )
    bridge = start(Bridge(tmp_path))
    exporter = start(Program("exporter", **bridge.settings, **split[0])).ready()
    reconciler = start(Program("reconciler", **split[1], RULES__FILES=rules)).ready()
    wait_until(lambda: truth.count(database_dsn, "dict_rate_limit_reconciliations") > 2)

    exporter.kill()
    wait_until(lambda: truth.count(database_dsn, "dict_rate_limit_alerts", "state = 'firing'") == 1)
    start(Program("exporter", **bridge.settings, **split[0]))
    wait_until(lambda: truth.count(database_dsn, "dict_rate_limit_alerts", "state = 'resolved'") == 1)
    assert reconciler.stop() == 0

    truth.check(database_dsn, str(rules))


def test_alerts_resolve_when_the_exporter_no_longer_polls_their_participant(
    tmp_path, start, split, database_dsn
) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(
        "groups:\n- name: a\n  rules:\n  - alert: Polled\n"
        "    expr: max by (participant) (dict_rate_limit_capacity) > 0\n"
        "    labels: {severity: info}\n"
    )
    bridge = start(Bridge(tmp_path, participants=2))
    # While no exporter is there its buckets are known, however long the other takes to start: each poll says how long.
    patient = {**bridge.settings, **split[0], "POLL__STALENESS": "5m"}
    exporter = start(Program("exporter", **patient)).ready()
    reconciler = start(Program("reconciler", **split[1], RULES__FILES=rules)).ready()
    wait_until(lambda: truth.count(database_dsn, "dict_rate_limit_alerts", "state = 'firing'") == 2)

    assert exporter.stop() == 0
    stays, goes = bridge.participants
    start(Program("exporter", **{**patient, "PARTICIPANTS": stays}))

    def reasons() -> list[tuple[str, str]]:
        with truth.rows(database_dsn) as query:
            return query("SELECT participant, reason FROM dict_rate_limit_alerts WHERE state = 'resolved'")

    wait_until(lambda: (goes, "participant_removed") in reasons())
    assert truth.count(database_dsn, "dict_rate_limit_alerts", f"state = 'firing' AND participant = '{stays}'") == 1
    assert reconciler.stop() == 0


def test_another_reconciler_takes_over_within_ten_seconds_of_a_kill(tmp_path, start, split, database_dsn) -> None:
    bridge = start(Bridge(tmp_path, participants=3))
    exporter = start(Program("exporter", **bridge.settings, **split[0])).ready()
    leader = start(Program("reconciler", **split[1])).ready()
    wait_until(lambda: leader.metric("dict_rate_limit_lease_held") == 1)
    waiting = start(Program("reconciler", **split[1])).ready()
    wait_until(lambda: truth.count(database_dsn, "dict_rate_limit_reconciliations") > 30)

    leader.kill()
    with truth.rows(database_dsn) as query:
        ((killed_at,),) = query("SELECT clock_timestamp()")
    # A transaction of the one that died began before.
    wait_until(
        lambda: truth.count(database_dsn, "dict_rate_limit_reconciliations", f"recorded_at > '{killed_at}'"),
        within_seconds=60,
    )
    assert waiting.stop() == 0
    assert exporter.stop() == 0

    # Nine at most, and a busy machine.
    assert (waiting.leads_since() - killed_at).total_seconds() < 12
    assert not truth.check(database_dsn).gaps()


def test_a_reconciler_that_was_killed_catches_up_from_the_backlog(tmp_path, start, split, database_dsn) -> None:
    bridge = start(Bridge(tmp_path, participants=3))
    exporter = start(Program("exporter", **bridge.settings, **split[0])).ready()
    reconciler = start(Program("reconciler", **split[1])).ready()
    wait_until(lambda: truth.count(database_dsn, "dict_rate_limit_alerts") > 0)

    reconciler.kill()
    start(reconciler).ready()
    polls = truth.count(database_dsn, "dict_rate_limit_reconciliations")
    wait_until(lambda: truth.count(database_dsn, "dict_rate_limit_reconciliations") > polls + 30)
    assert reconciler.stop() == 0
    assert exporter.stop() == 0

    assert not truth.check(database_dsn).gaps()

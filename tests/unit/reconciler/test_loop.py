"""What a poll comes to, given what is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.config import DatabaseSettings, Secret
from exporter.feed.inbox import Inbox
from exporter.metrics import Metrics
from exporter.reconciler.decide import Followed, decide
from exporter.reconciler.loop import Reconciler
from exporter.rules.files import loading
from exporter.store.database import Database
from exporter.store.writer import Writer
from tests.support.builders import bucket, poll
from tests.support.program import RULES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from exporter.alerts.alert import Rule

RULE_SET = loading.load([str(RULES)])


def after(*polls, followed: Followed | None = None):
    """What is known after these polls, and the decisions that they led to."""
    known, decisions = followed or Followed(), []
    for made in polls:
        known, decided = decide(known, made, RULE_SET.rules)
        decisions.append(decided)
    return known, decisions


def low(seconds: float, **given):
    return poll(bucket(3_000), seconds=seconds, **given)


def test_rules_that_are_gone_leave_nothing_behind(tmp_path: Path) -> None:
    def rules(*groups: str) -> Sequence[Rule]:
        file = tmp_path / "rules.yml"
        rule = "[{alert: A, expr: dict_rate_limit_up == 0, labels: {severity: info}}]"
        file.write_text("groups:\n" + "".join(f"- {{name: {group}, rules: {rule}}}\n" for group in groups))
        return loading.load([str(file)]).rules

    metrics = Metrics()
    made = Reconciler(
        writer=Writer(Database(DatabaseSettings(dsn=Secret("host=127.0.0.1"))), heartbeat_seconds=900),
        inbox=Inbox(1, lambda _: None),
        metrics=metrics,
        rules=tuple,
        participants=(),
        max_clock_skew_seconds=300,
        wake=lambda: None,
    )
    made._note_series([], rules("kept", "gone"))
    made._failing = {("gone", "A"): {}, ("kept", "A"): {}}
    for group in ("kept", "gone"):
        metrics.rule_evaluation_failures.labels(group).inc()

    made._note_series([], rules("kept"))

    page = metrics.exposition().decode()
    assert 'rule_group="kept"' in page
    assert 'rule_group="gone"' not in page
    assert made._failing.keys() == {("kept", "A")}

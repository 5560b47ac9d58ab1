"""Alerts as a table or as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.store.database import reached
from exporter.store.reader import Reader
from exporter.web.status import is_current

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.alerts.alert import Alert
    from exporter.config import Settings
    from exporter.store.reader import AtWork


async def list_alerts(
    settings: Settings, *, include_resolved: bool, participant: str | None, limit: int, output: str
) -> tuple[str, str]:
    """Returns the alerts of the database, newest first, as ``table`` or ``json``, and of when they are.

    Raises DatabaseUnavailable.
    """
    async with reached(settings.database) as database:
        reader = Reader(database)
        alerts = await reader.alerts(include_resolved=include_resolved, participant=participant, limit=limit)
        at_work = await reader.at_work()
    return _json(alerts) if output == "json" else table(alerts, datetime.now(UTC)), as_of(at_work)


def as_of(at_work: AtWork) -> str:
    """Returns of when the alerts are, and who leads, in a sentence."""
    leads = f"{at_work.leader} leads" if at_work.leader else "no process leads"
    if at_work.evaluated_at is None or at_work.age_seconds is None or at_work.interval_seconds is None:
        return f"No rule was ever evaluated, and {leads}."
    age = _age(max(0.0, at_work.age_seconds))
    if at_work.leader and is_current(at_work.age_seconds, at_work.interval_seconds):
        return f"Rules were evaluated {age} ago; {leads}."
    return f"AS OF {at_work.evaluated_at:%Y-%m-%d %H:%M:%S} UTC: no rule has been evaluated for {age}, and {leads}."


async def verify_audit(settings: Settings, head: bytes | None) -> tuple[str, list[str]]:
    """Returns what the audit's chain is found to be, in words, and its defects. Raises DatabaseUnavailable."""
    from exporter.store import audit

    async with reached(settings.database) as database:
        found = await audit.verify(database, head)
    if found.first_at is None or found.last_at is None:
        return "no transitions", found.defects
    verdict = "not what was recorded" if found.defects else "none changed, none taken out"
    span = f"{found.first_at:%Y-%m-%d %H:%M:%S} to {found.last_at:%Y-%m-%d %H:%M:%S} UTC"
    count = "1 transition" if found.transitions == 1 else f"{found.transitions:,} transitions"
    return f"{count}, {span}: {verdict}\nhead {found.head.hex()}", found.defects


def table(alerts: Sequence[Alert], now: datetime) -> str:
    """Returns the alerts as lines for a terminal."""
    if not alerts:
        return "no alerts"
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("ALERT", "SEVERITY", "STATE", "PARTICIPANT", "POLICY", "SINCE (UTC)", "AGE", "VALUE", "REASON"):
        shown.add_column(column, no_wrap=True)
    for alert in alerts:
        since = alert.firing_since or alert.active_since
        shown.add_row(
            alert.name,
            alert.severity,
            alert.state,
            alert.participant,
            alert.policy or "",
            f"{since:%Y-%m-%d %H:%M:%S}",
            _age(((alert.resolved_at or now) - since).total_seconds()),
            f"{alert.value:g}",
            alert.reason or "",
        )
    console = Console(width=200)
    with console.capture() as captured:
        console.print(shown)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _age(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours}h"
    return f"{hours}h{minutes}m" if hours else f"{minutes}m{seconds}s"


def _json(alerts: Sequence[Alert]) -> str:
    def when(at: datetime | None) -> str | None:
        return None if at is None else at.isoformat()

    return json.dumps(
        [
            {
                "fingerprint": alert.fingerprint,
                "alertname": alert.name,
                "state": alert.state,
                "severity": alert.severity,
                "participant": alert.participant,
                "policy": alert.policy,
                "labels": dict(alert.labels),
                "annotations": dict(alert.annotations),
                "value": str(alert.value),
                "active_since": when(alert.active_since),
                "firing_since": when(alert.firing_since),
                "resolved_at": when(alert.resolved_at),
                "reason": alert.reason,
            }
            for alert in alerts
        ],
        indent=2,
    )

"""Alerts of the database, as a table, as JSON or as CSV; the verdict on the audit."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from exporter.alerts.alert import Alert
from exporter.clock import in_utc
from exporter.config.settings import Settings
from exporter.durations import short
from exporter.history.participants import find_participants, require_alert, require_policy
from exporter.history.replay import Period
from exporter.numbers import counted
from exporter.rules.files.loading import attempt
from exporter.store.database import reached
from exporter.store.reader import Activity, AlertFilter, Reader
from exporter.web.sources import is_current


async def list_alerts(settings: Settings, alert_filter: AlertFilter) -> tuple[Sequence[Alert], str]:
    """Returns the alerts of the database, the newest first, and a sentence on how old the list is.

    Raises DictRateLimitError where there are none because a name is unknown, with the nearest one; DatabaseUnavailable.
    """
    async with reached(settings.database) as database:
        reader = Reader(database)
        alerts = await reader.alerts(alert_filter)
        activity = await reader.activity()
    if not alerts:
        # A misspelled name would otherwise look as if there were no alerts.
        if alert_filter.participant is not None:
            await find_participants(settings.database, (alert_filter.participant,))
        if alert_filter.policy is not None:
            await require_policy(settings.database, alert_filter.policy)
        if alert_filter.alertname is not None:
            rules = attempt(settings.rules.files).rule_set.alerting
            await require_alert(settings.database, alert_filter.alertname, {rule.name for rule in rules})
    return alerts, as_of(activity)


def as_of(activity: Activity) -> str:
    """Returns a sentence on how old the alerts are, and which process leads."""
    leads = f"{activity.leader} leads" if activity.leader else "no process leads"
    if activity.evaluated_at is None or activity.age_seconds is None or activity.interval_seconds is None:
        return f"No rule was ever evaluated, and {leads}."
    age = short(max(0.0, activity.age_seconds))
    if activity.leader and is_current(activity.age_seconds, activity.interval_seconds):
        return f"Rules were evaluated {age} ago; {leads}."
    return f"AS OF {in_utc(activity.evaluated_at)} UTC: no rule has been evaluated for {age}, and {leads}."


async def verify_audit(settings: Settings, head: bytes | None) -> tuple[str, list[str]]:
    """Returns the verdict on the audit's chain, and its defects. Raises DatabaseUnavailable."""
    from exporter.store import audit

    async with reached(settings.database) as database:
        chain = await audit.verify(database, head)
    if chain.first_at is None or chain.last_at is None:
        return "no transitions", chain.defects
    verdict = "not what was recorded" if chain.defects else "none changed, none taken out"
    text = f"{counted(chain.transitions, 'transition')}, {Period(chain.first_at, chain.last_at)}: {verdict}"
    return f"{text}\nhead {chain.head.hex()}", chain.defects


def table(alerts: Sequence[Alert], now: datetime) -> str:
    """Returns the alerts as lines for a terminal."""
    if not alerts:
        return "no alerts"
    from rich.console import Console
    from rich.table import Column, Table

    columns = ("ALERT", "SEVERITY", "STATE", "PARTICIPANT", "POLICY", "SINCE (UTC)", "AGE", "VALUE", "REASON")
    rows = Table(*(Column(name, no_wrap=True) for name in columns), box=None, pad_edge=False, header_style="bold")
    for alert in alerts:
        since = alert.firing_since or alert.active_since
        rows.add_row(
            alert.name,
            alert.severity,
            alert.state,
            alert.participant,
            alert.policy or "",
            in_utc(since),
            short(((alert.resolved_at or now) - since).total_seconds()),
            f"{alert.value:g}",
            alert.reason or "",
        )
    console = Console(width=200)
    with console.capture() as captured:
        console.print(rows)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def render(alerts: Sequence[Alert], output: str) -> str:
    """Returns the alerts as ``table``, ``json`` or ``csv``, with a line end."""
    if output == "json":
        return json.dumps([_fields(alert) for alert in alerts], indent=2, default=datetime.isoformat) + "\n"
    return _csv(alerts) if output == "csv" else table(alerts, datetime.now(UTC)) + "\n"


def _fields(alert: Alert) -> dict[str, Any]:
    return {
        "fingerprint": alert.fingerprint,
        "alertname": alert.name,
        "state": alert.state,
        "severity": alert.severity,
        "participant": alert.participant,
        "policy": alert.policy,
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "value": str(alert.value),
        "active_since": alert.active_since,
        "firing_since": alert.firing_since,
        "resolved_at": alert.resolved_at,
        "reason": alert.reason,
    }


CSV_COLUMNS: Final = (
    *("alertname", "severity", "state", "participant", "policy", "active_since", "firing_since", "resolved_at"),
    *("value", "reason", "fingerprint", "labels", "annotations"),
)


def _csv(alerts: Sequence[Alert]) -> str:
    """Returns a header and lines that end with CR LF (RFC 4180); labels and annotations are JSON objects."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, CSV_COLUMNS)
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in _fields(alert).items()} for alert in alerts)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    return value.isoformat() if isinstance(value, datetime) else value

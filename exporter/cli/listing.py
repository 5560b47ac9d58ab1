"""Alerts as a table, as JSON or as CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from exporter.durations import short
from exporter.history.participants import find_participants, require_alert, require_policy
from exporter.numbers import counted
from exporter.rules.files.loading import attempt
from exporter.store.database import reached
from exporter.store.reader import Reader
from exporter.web.status_page.status import is_current

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.alerts.alert import Alert
    from exporter.buckets.bucket import Ispb
    from exporter.config import Settings
    from exporter.store.reader import AtWork


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which alerts are asked for; None: whatever they have. ``since`` and ``until`` are UTC."""

    include_resolved: bool = False
    participant: Ispb | None = None
    policy: str | None = None
    alertname: str | None = None
    severity: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Alerts, the newest first, whether there are more of them, and of when they are, in a sentence."""

    alerts: Sequence[Alert]
    more: bool
    as_of: str


async def list_alerts(settings: Settings, wanted: Wanted, *, limit: int) -> Listing:
    """Returns the alerts of the database.

    Raises DictRateLimitError where there are none because a name is unknown, with the nearest one; DatabaseUnavailable.
    """
    async with reached(settings.database) as database:
        reader = Reader(database)
        alerts = await reader.alerts(**asdict(wanted), limit=limit + 1)
        at_work = await reader.at_work()
    if not alerts:
        await _know(settings, wanted)
    return Listing(alerts[:limit], more=len(alerts) > limit, as_of=as_of(at_work))


async def _know(settings: Settings, wanted: Wanted) -> None:
    """A slip of the pen must not look like silence."""
    if wanted.participant is not None:
        await find_participants(settings.database, (wanted.participant,))
    if wanted.policy is not None:
        await require_policy(settings.database, wanted.policy)
    if wanted.alertname is not None:
        rules = attempt(settings.rules.files).rule_set.rules
        await require_alert(settings.database, wanted.alertname, {rule.name for rule in rules})


def as_of(at_work: AtWork) -> str:
    """Returns of when the alerts are, and who leads, in a sentence."""
    leads = f"{at_work.leader} leads" if at_work.leader else "no process leads"
    if at_work.evaluated_at is None or at_work.age_seconds is None or at_work.interval_seconds is None:
        return f"No rule was ever evaluated, and {leads}."
    age = short(max(0.0, at_work.age_seconds))
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
    return f"{counted(found.transitions, 'transition')}, {span}: {verdict}\nhead {found.head.hex()}", found.defects


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
            short(((alert.resolved_at or now) - since).total_seconds()),
            f"{alert.value:g}",
            alert.reason or "",
        )
    console = Console(width=200)
    with console.capture() as captured:
        console.print(shown)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def shown(alerts: Sequence[Alert], output: str) -> str:
    """Returns the alerts as ``table``, ``json`` or ``csv``, with the last line's end."""
    if output == "json":
        return json.dumps([_fields(alert) for alert in alerts], indent=2) + "\n"
    return _csv(alerts) if output == "csv" else table(alerts, datetime.now(UTC)) + "\n"


def _fields(alert: Alert) -> dict[str, Any]:
    def when(at: datetime | None) -> str | None:
        return None if at is None else at.isoformat()

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
        "active_since": when(alert.active_since),
        "firing_since": when(alert.firing_since),
        "resolved_at": when(alert.resolved_at),
        "reason": alert.reason,
    }


CSV_COLUMNS: Final = (
    *("alertname", "severity", "state", "participant", "policy", "active_since", "firing_since", "resolved_at"),
    *("value", "reason", "fingerprint", "labels", "annotations"),
)


def _csv(alerts: Sequence[Alert]) -> str:
    """RFC 4180: a header, lines that end with CR LF. Labels and annotations are JSON objects."""
    lines = io.StringIO(newline="")
    writer = csv.DictWriter(lines, CSV_COLUMNS)
    writer.writeheader()
    for alert in alerts:
        fields = _fields(alert)
        objects = {name: json.dumps(fields[name], sort_keys=True) for name in ("labels", "annotations")}
        writer.writerow(fields | objects)
    return lines.getvalue()

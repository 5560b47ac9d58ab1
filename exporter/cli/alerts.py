"""``alerts`` and ``audit verify``: alerts and their transitions, as the database has them."""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import datetime
from typing import Any

import click

from exporter.alerts.alert import Severity
from exporter.cli.exit_codes import FAILED, print_error
from exporter.cli.options import configured, ispb, output, period_between, time
from exporter.config.settings import Settings


@click.command()
@click.option("--all", "all_", is_flag=True, help="Resolved alerts too, not only open ones.")
@click.option("--participant", type=ispb, help="Only this ISPB.")
@click.option("--policy", help="Only alerts about this policy.")
@click.option("--alert", "alertname", help="Only alerts of this name.")
@click.option("--severity", type=click.Choice([*map(str, Severity)]), help="Only alerts of this severity.")
@click.option(
    "--since",
    type=time,
    help="Alerts, resolved ones too, that were open at this time or later: how long ago, or a time in UTC.",
)
@click.option("--until", type=time, help="Alerts, resolved ones too, that began before this time.")
@output("table", "json", "csv")
@click.option(
    "--limit", type=click.IntRange(1), default=500, show_default=True, help="How many to list, from the newest."
)
@configured
def alerts(
    *,
    settings: Settings,
    all_: bool,
    since: datetime | None,
    until: datetime | None,
    output: str,
    limit: int,
    **selection: Any,
) -> None:
    """List open alerts from the database. Standard error says how old the list is, and which process leads.

    Only reads, so a standby can answer. An unknown name is an error that names the nearest one.
    """
    from exporter.cli.listing import list_alerts, render
    from exporter.store.reader import AlertFilter

    if since is not None and until is not None:
        period_between(since, until, "--since", "--until")
    history = all_ or since is not None or until is not None
    alert_filter = AlertFilter(history, since=since, until=until, limit=limit + 1, **selection)
    newest, as_of = asyncio.run(list_alerts(settings, alert_filter))
    click.echo(render(newest[:limit], output), nl=False)
    if len(newest) > limit:
        click.echo(f"Only the newest {limit:,} are shown: --limit shows more.", err=True)
    click.echo(as_of, err=True)


@click.group()
def audit() -> None:
    """The recorded transitions of alerts."""


@audit.command()
@click.option("--head", help="A head that was printed before: fails unless it is still part of the record.")
@configured
def verify(settings: Settings, head: str | None) -> None:
    """Prove that no recorded transition was changed or removed.

    Each transition carries the hash of the one before it; this follows the chain from the first to the last. Exit code
    1 where a transition does not match, each of them named. Keep the head that it prints outside the database: a
    database administrator could forge the whole chain.
    """
    from exporter.cli.listing import verify_audit

    text, defects = asyncio.run(verify_audit(settings, _parse_hash(head)))
    click.echo(text)
    for defect in defects:
        print_error(defect)
    if defects:
        sys.exit(FAILED)


def _parse_hash(text: str | None) -> bytes | None:
    if text is None:
        return None
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise click.BadParameter("is not a SHA-256 hash of 64 hexadecimal digits", param_hint="--head")
    return bytes.fromhex(text)

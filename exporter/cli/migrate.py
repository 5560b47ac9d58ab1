"""``migrate``: the database schema."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC

import click

from exporter.cli.exit_codes import print_error
from exporter.cli.options import configured
from exporter.config import Settings


@click.command()
@click.argument("action", type=click.Choice(["status", "up", "down"]), default="status")
@click.option(
    "--steps", type=click.IntRange(1), default=1, show_default=True, help="How many migrations `down` undoes."
)
@click.option("--yes", is_flag=True, help="Let `down` drop tables and columns that hold data, without asking.")
@configured
def migrate(settings: Settings, action: str, steps: int, yes: bool) -> None:  # noqa: FBT001
    """Database schema: show what is applied, apply all, or undo the last."""
    from exporter.store import migrations
    from exporter.store.connections import configured_dsn

    dsn = configured_dsn(settings.database)
    if action == "up":
        applied = asyncio.run(migrations.up(dsn, progress=lambda name: click.echo(f"applied {name}")))
        click.echo(f"{len(applied)} migrations applied" if applied else "nothing to apply: the schema is current")
    elif action == "down":
        losses = [] if yes else asyncio.run(migrations.would_lose(dsn, steps=steps))
        if losses:
            print_error("this drops data permanently: " + "; ".join(losses))
            if not sys.stdin.isatty():
                raise click.UsageError("Pass --yes to drop it.")
            click.confirm("Go on?", abort=True)
        for name in asyncio.run(migrations.down(dsn, steps=steps)):
            click.echo(f"undone {name}")
    else:
        for line in asyncio.run(migrations.status(dsn)):
            state = f"applied {line.applied_at.astimezone(UTC).isoformat()}" if line.applied_at else "pending"
            click.echo(f"{line.name}  {state}")

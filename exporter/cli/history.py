"""Commands that look into the stored past: ``rules backtest``, ``rules capture``, ``explain``.

Exit codes: 0 done, 1 the work failed (no history), 2 wrong usage or configuration, a rule file that does not load.
"""

from __future__ import annotations

import asyncio
import os
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporter.cli.options import DURATION, FILE, PARTICIPANT, TIME, configured, output, period_between
from exporter.errors import DictRateLimitError

if TYPE_CHECKING:
    from datetime import datetime

    from exporter.alerts.alert import Alert
    from exporter.buckets.bucket import Ispb
    from exporter.config import Settings
    from exporter.store.reader import Reader


def add_to(cli: click.Group, rules: click.Group) -> None:
    """Adds the commands."""
    rules.add_command(backtest)
    rules.add_command(capture)
    cli.add_command(explain)


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FILE)
@click.option(
    "--since", type=TIME, default="30d", show_default=True, help="Where to begin: how long ago, or a time in UTC."
)
@click.option("--until", type=TIME, default="0", help="Where to end (default: now).")
@click.option("--participant", "participants", type=PARTICIPANT, multiple=True, help="Only this ISPB; repeatable.")
@click.option("--policy", help="Only alerts about this policy.")
@click.option(
    "--against", type=FILE, multiple=True, help="Compare with this rule file, not with what was raised; repeatable."
)
@click.option("--limit", type=click.IntRange(0), default=50, show_default=True, help="How many alerts to list.")
@click.option("--processes", type=click.IntRange(1), help="How many processes to use (default: one per core).")
@output("table", "json", "markdown", "html")
@configured
def backtest(
    *,
    settings: Settings,
    files: tuple[str, ...],
    since: datetime,
    until: datetime,
    participants: tuple[str, ...],
    policy: str | None,
    against: tuple[str, ...],
    limit: int,
    processes: int | None,
    output: str,
) -> None:
    """What rule files would have raised over the stored history, beside what was raised.

    Replays every poll that the database holds of the period, and compares alert by alert: which are new, which are
    gone, which begin or end at other times. `--output markdown` is for a pull request's comment, `--output html` a
    report with a timeline.
    """
    from exporter.backtest import workers
    from exporter.backtest.output import shown
    from exporter.backtest.report import report
    from exporter.cli import progress
    from exporter.history.participants import find_participants, require_policy
    from exporter.history.replay import warm_up
    from exporter.rules.files.loading import load
    from exporter.rules.promql.traversal import looks_at_alerts

    period = period_between(since, until, "--since", "--until")
    sides = (files, against) if against else (files,)
    rule_sets = [load([escape(file) for file in side]).rules for side in sides]
    held = any(looks_at_alerts(rule.expression.tree) for rules in rule_sets for rule in rules)
    job = workers.Job(settings.database, sides, period)
    found = asyncio.run(find_participants(settings.database, participants))
    with progress.shown(found, period) as told:
        pasts = workers.run(job, found, told, processes=processes)
    made = report(
        pasts,
        mine=", ".join(files),
        other=", ".join(against) or None,
        period=period,
        policy=policy,
        replayed_since=period.since - warm_up(rule_sets) if held else None,
    )
    if policy is not None and not made.pairs:
        asyncio.run(require_policy(settings.database, policy))  # a slip of the pen must not look like silence
    click.echo(shown(made, output, limit))


@click.command()
@click.argument("files", metavar="[FILE...]", nargs=-1, type=FILE)
@click.option("--participant", type=PARTICIPANT, required=True, help="Whose incident it was: an ISPB.")
@click.option("--policy", "policies", multiple=True, help="Only this policy's bucket; repeatable (default: all).")
@click.option("--from", "since", type=TIME, required=True, help="Where to begin: a time in UTC, or how long ago.")
@click.option("--to", "until", type=TIME, required=True, help="Where to end.")
@click.option("--alert", "alerts", multiple=True, help="Expect only this alert; repeatable (default: all).")
@click.option("--interval", type=DURATION, help="Evaluation interval (default: that of the polls).")
@click.option("--output-file", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Default: stdout.")
@configured
def capture(
    *,
    settings: Settings,
    files: tuple[str, ...],
    participant: Ispb,
    policies: tuple[str, ...],
    since: datetime,
    until: datetime,
    alerts: tuple[str, ...],
    interval: float | None,
    output_file: Path | None,
) -> None:
    """Make an incident of the past a rule unit test, a file in promtool's format.

    The gauges as they were, sampled at the evaluation interval, and what the rules (FILE, by default the configured
    ones) make of them: the test passes at once, here and under promtool. Begin before the incident does: nothing
    fires yet when a test begins.
    """
    from exporter.capture.capture import Wanted, fired_before
    from exporter.capture.capture import capture as captured
    from exporter.history.participants import reading
    from exporter.rules.files.loading import load, matching_files

    period = period_between(since, until, "--from", "--to")
    found = [str(file) for file in files] or matching_files(settings.rules.files)
    rules = load([escape(file) for file in found] or settings.rules.files).rules
    folder = output_file.parent if output_file is not None else Path()
    named = [escape(os.path.relpath(file, folder)) for file in found]
    wanted = Wanted(participant, period, policies, alerts, interval)

    async def work(reader: Reader, _: object) -> tuple[str, list[Alert]]:
        return await captured(reader, rules, named, wanted), await fired_before(reader, wanted)

    made, earlier = asyncio.run(reading(settings.database, (participant,), work))
    for alert in earlier:
        bucket = f" of {alert.policy}" if alert.policy is not None else ""
        since_when = f"{alert.firing_since:%Y-%m-%d %H:%M:%S}"
        click.echo(f"note: {alert.name}{bucket} fired since {since_when}; in the test it begins anew", err=True)
    if output_file is None:
        click.echo(made, nl=False)
        return
    try:
        output_file.write_text(made, "utf-8")
    except OSError as error:
        raise DictRateLimitError(f"{output_file}: cannot be written: {error.strerror}") from error


@click.command()
@click.argument("alert")
@click.option("--at", type=TIME, default="0", help="When: a time in UTC, or how long ago (default: now).")
@click.option("--participant", type=PARTICIPANT, help="Of which ISPB (default: all that have it open).")
@click.option("--policy", help="Of which bucket (default: all that have it open).")
@click.option("--rules", "files", multiple=True, type=FILE, help="Rule file, not the configured ones; repeatable.")
@output("text", "json")
@configured
def explain(
    *,
    settings: Settings,
    alert: str,
    at: datetime,
    participant: Ispb | None,
    policy: str | None,
    files: tuple[str, ...],
    output: str,
) -> None:
    """Why an alert is firing, or is not: its expression taken apart at one poll of the stored history.

    Tells what each part of the expression gave, since when it has been true, and what the alert waits for: `for`,
    `keep_firing_for`, hysteresis, missing data. Follows the rule files as they are now.
    """
    from exporter.explain import render
    from exporter.explain.explanation import explain_all, rules_named
    from exporter.history.participants import reading
    from exporter.rules.files.loading import load

    rules = load([escape(file) for file in files] or settings.rules.files).rules
    named = rules_named(alert, rules)
    wanted = () if participant is None else (participant,)
    found = asyncio.run(
        reading(
            settings.database,
            wanted,
            lambda reader, participants: explain_all(reader, named, rules, participants, policy=policy, at=at),
        )
    )
    click.echo(render.as_json(found, at) if output == "json" else render.text(found, at))

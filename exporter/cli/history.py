"""Commands that read the stored history: ``rules backtest``, ``rules capture``, ``explain``.

Exit codes: 0 done, 1 the work failed (no history), 2 wrong usage or configuration, a rule file that does not load.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporter.alerts.alert import Alert
from exporter.buckets.bucket import Ispb
from exporter.cli.options import FILE, OUTPUT_FILE, configured, duration, ispb, output, period_between, time, write_file
from exporter.cli.rules import rules
from exporter.clock import in_utc
from exporter.config.settings import Settings
from exporter.durations import Duration

if TYPE_CHECKING:
    from exporter.backtest.backtest import Progress
    from exporter.history.replay import Period
    from exporter.store.reader import Reader


@rules.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FILE)
@click.option("--since", type=time, default="30d", show_default=True, help="Begin: how long ago, or a time in UTC.")
@click.option("--until", type=time, default="0", help="End (default: now).")
@click.option("--participant", "participants", type=ispb, multiple=True, help="Only this ISPB; repeatable.")
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
    """Show what rule files would have raised over the stored history, compared with what was raised.

    Replays every stored poll of the period, and compares alert by alert: which are new, which are gone, which begin or
    end at other times. `--output markdown` is for a pull request's comment, `--output html` a report with a timeline.
    """
    from exporter.backtest import workers
    from exporter.backtest.report import build_report
    from exporter.backtest.tables import render
    from exporter.history.lookback import warm_up
    from exporter.history.participants import find_participants, require_policy
    from exporter.reconciler.rule_options import rule_options
    from exporter.rules.promql.traversal import looks_at_alerts

    period = period_between(since, until, "--since", "--until")
    sides = (files, against) if against else (files,)
    job = workers.Job(settings.database, sides, period, rule_options(settings))
    rule_sets = job.rule_sets()
    has_hysteresis = any(looks_at_alerts(rule.expression.tree) for rule_set in rule_sets for rule in rule_set)
    ispbs = asyncio.run(find_participants(settings.database, participants))
    with _progress_bar(ispbs, period) as progress:
        results = workers.run(job, ispbs, progress, processes=processes)
    report = build_report(
        results,
        mine=", ".join(files),
        other=", ".join(against) or None,
        period=period,
        policy=policy,
        replayed_since=period.since - warm_up(rule_sets) if has_hysteresis else None,
    )
    if policy is not None and not report.pairs:
        asyncio.run(require_policy(settings.database, policy))  # a misspelled policy must not look like no alerts
    click.echo(render(report, output, limit))


@rules.command()
@click.argument("files", metavar="[FILE...]", nargs=-1, type=FILE)
@click.option("--participant", type=ispb, required=True, help="ISPB of the participant that had the incident.")
@click.option("--policy", "policies", multiple=True, help="Only this policy's bucket; repeatable (default: all).")
@click.option("--from", "since", type=time, required=True, help="Begin: a time in UTC, or how long ago.")
@click.option("--to", "until", type=time, required=True, help="End.")
@click.option("--alert", "alerts", multiple=True, help="Expect only this alert; repeatable (default: all).")
@click.option("--interval", type=duration, help="Evaluation interval (default: that of the polls).")
@click.option("--output-file", type=OUTPUT_FILE, help="File (default: stdout).")
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
    """Turn a past incident into a rule unit test, a file in promtool's format.

    Holds the gauges as they were, sampled at the evaluation interval, and the alerts that the rules (FILE, by default
    the configured ones) raise from them: the test passes at once, here and under promtool. Begin before the incident
    does: when a test begins, nothing is firing yet.
    """
    from exporter.alerts.lifecycle import lookback_ms
    from exporter.buckets.gauges import METRIC_NAMES
    from exporter.capture.capture import CaptureRequest, capture_test, fired_before
    from exporter.history.participants import read_history
    from exporter.reconciler.rule_options import rule_options
    from exporter.rules.files.loading import load, matching_files
    from exporter.rules.promql.sources import LOOKBACK_MS

    period = period_between(since, until, "--from", "--to")
    rule_files = list(files) or [str(file) for file in matching_files(settings.rules.files)]
    loaded = load([escape(file) for file in rule_files] or settings.rules.files, rule_options(settings)).rules
    folder = output_file.parent if output_file is not None else Path()
    relative_files = [escape(os.path.relpath(file, folder)) for file in rule_files]
    request = CaptureRequest(participant, period, policies, alerts, interval)

    async def work(reader: Reader, _: Sequence[Ispb]) -> tuple[str, list[Alert]]:
        return await capture_test(reader, loaded, relative_files, request), await fired_before(reader, request)

    test, earlier = asyncio.run(read_history(settings.database, (participant,), work))
    for alert in earlier:
        bucket = f" of {alert.policy}" if alert.policy is not None else ""
        began = in_utc(alert.firing_since or alert.active_since)
        click.echo(f"note: {alert.name}{bucket} had been firing since {began}; in the test it begins again", err=True)
    looks_back = lookback_ms(loaded).items()
    # What is recorded is there from the first evaluation on.
    if back_ms := max((ms for name, ms in looks_back if name in METRIC_NAMES or ms > LOOKBACK_MS), default=0):
        seconds = Duration(back_ms / 1000)
        click.echo(f"note: rules look back {seconds}; the test begins with no past: begin it as much earlier", err=True)
    if output_file is None:
        click.echo(test, nl=False)
        return
    write_file(output_file, test)


@click.command()
@click.argument("alert")
@click.option("--at", type=time, default="0", help="When: a time in UTC, or how long ago (default: now).")
@click.option("--participant", type=ispb, help="Of this ISPB (default: all where it is open).")
@click.option("--policy", help="Of this policy's bucket (default: all where it is open).")
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
    """Explain why an alert is firing, or is not, with a breakdown of its expression at one stored poll.

    Shows the value of each sub-expression, since when the expression has been true, and what the alert waits for:
    `for`, `keep_firing_for`, hysteresis, missing data. Uses the rule files as they are now.
    """
    from exporter.explain import render
    from exporter.explain.explanation import explain_all, find_rules
    from exporter.history.participants import read_history
    from exporter.reconciler.rule_options import rule_options
    from exporter.rules.files.loading import load

    rule_set = load([escape(file) for file in files] or settings.rules.files, rule_options(settings))
    selected, loaded = find_rules(alert, rule_set.alerting), rule_set.rules
    explanations = asyncio.run(
        read_history(
            settings.database,
            () if participant is None else (participant,),
            lambda reader, participants: explain_all(reader, selected, loaded, participants, policy=policy, at=at),
        )
    )
    click.echo(render.as_json(explanations, at) if output == "json" else render.text(explanations, at))


@contextmanager
def _progress_bar(participants: Sequence[Ispb], period: Period) -> Iterator[Progress]:
    """Yields the function that advances the bar, on stderr where that is a terminal; at the end it disappears."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[polls]:,} polls"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )

    def advance(polls: int, seconds: float) -> None:
        bar.update(task, advance=seconds, polls=bar.tasks[task].fields["polls"] + polls)

    with _interruptible(), bar:
        task = bar.add_task("replaying", total=period.seconds * len(participants), polls=0)
        yield advance


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C raise KeyboardInterrupt: the hidden cursor must come back, and processes must be ended."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

"""Commands for the authors of rules that need no history: ``rules check``, ``rules test``, ``rules export``.

Exit codes: 0 nothing is wrong, 1 something is (findings, failed tests), 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from exporter.cli.options import FILE, OUTPUT_FILE, config_file, output, write_file
from exporter.numbers import counted

if TYPE_CHECKING:
    from exporter.config.settings import DatabaseSettings

_PATIENCE_SECONDS: Final = 5.0
"""How long a check waits for the database: what it knows is a help, no more."""

ignore_unknown_fields = click.option(
    "--ignore-unknown-fields", is_flag=True, help="Take rule files with fields of your own; the reconciler does not."
)


@click.group()
def rules() -> None:
    """Rules that alert, and rules that record."""


@rules.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FILE)
@config_file
@click.option("--lint-fatal", is_flag=True, help="Warnings count as errors.")
@ignore_unknown_fields
@output("text", "json")
def check(
    *, files: tuple[str, ...], config_file: Path | None, lint_fatal: bool, ignore_unknown_fields: bool, output: str
) -> None:
    """Validate rule files: what is wrong is a line each, `file:line: group/rule: message`.

    A message begins with `error:`, which keeps the file from loading, or `warning:`, which does not, and ends with the
    name of its check, as in `(lint/runbook)`. A comment disables a check: `# dict-rate-limit: disable lint/runbook`.
    Files are checked together, as the reconciler loads them. Where rules look back, the memory that this takes is told.
    With --config.file all this goes by its participants, poll.interval and rules.max_range, and policies that are not
    published are looked for in its database. Exit code 1 where an error was found (with --lint-fatal also a warning),
    2 where the command is used wrongly.
    """
    from exporter.cli.lookback import lookback_of
    from exporter.config.configuration import load_settings
    from exporter.config.settings import Settings
    from exporter.reconciler.rule_options import installation
    from exporter.rules.files import loading
    from exporter.rules.files.compiler import Options
    from exporter.rules.lint import linter

    settings = load_settings(config_file) if config_file is not None else Settings()
    options = Options(settings.rules.max_range, ignore_unknown_fields)
    attempt = loading.attempt([escape(file) for file in files], options)
    lookback = lookback_of(attempt.rule_set.rules, settings)
    findings = linter.findings(attempt, installation(settings, partial(_stored_policies, settings.database)))
    counts = dict.fromkeys(files, 0)
    for group in attempt.groups:
        counts[group.file] += len(group.rules)
    if output == "json":
        listed = [{"file": file, "rules": count} for file, count in counts.items()]
        document = {"files": listed, "findings": list(map(asdict, findings)), "lookback": lookback and asdict(lookback)}
        click.echo(json.dumps(document, indent=2))
    else:
        for finding in findings:
            click.echo(str(finding))
        refused = {finding.file for finding in attempt.errors}
        for file, count in counts.items():
            if file not in refused:
                click.echo(f"{file}: {counted(count, 'rule')} found")
        if lookback is not None:
            click.echo(str(lookback))
    errors, warnings = len(attempt.errors), len(findings) - len(attempt.errors)
    if findings:
        click.echo(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}", err=True)
    sys.exit(1 if errors or (lint_fatal and warnings) else 0)


def _stored_policies(settings: DatabaseSettings) -> frozenset[str] | None:
    """Returns the policies that the database holds; None, and says so, where it cannot be asked."""
    from exporter.errors import DictRateLimitError
    from exporter.history.participants import stored_policies

    if settings.dsn is None:
        return None
    try:
        return frozenset(asyncio.run(asyncio.wait_for(stored_policies(settings), _PATIENCE_SECONDS)))
    except DictRateLimitError as error:
        why = str(error)
    except TimeoutError:
        why = f"no answer within {_PATIENCE_SECONDS:g} s"
    click.echo(f"the database could not tell its policies, only those that BACEN publishes are known: {why}", err=True)
    return None


@rules.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FILE)
@click.option("--diff", is_flag=True, help="Show what was expected and what came as one diff.")
@click.option("--run", "names", metavar="REGEX", multiple=True, help="Only tests whose name matches; repeatable.")
@click.option("--junit", "junit_file", metavar="FILE", type=OUTPUT_FILE, help="Write the results as JUnit XML, too.")
@ignore_unknown_fields
@click.option(
    "--reference",
    type=click.Choice(("2", "3")),
    default="3",
    show_default=True,
    help="The release of Prometheus whose verdicts are asked for.",
)
@click.option("--coverage", "with_coverage", is_flag=True, help="Show what of the rules no test makes true.")
@click.option(
    "--coverage-fail-under",
    "least_percent",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    help="Fail where less of the rules is covered.",
)
@output("text", "json")
def test(
    *,
    files: tuple[str, ...],
    diff: bool,
    names: tuple[str, ...],
    junit_file: Path | None,
    ignore_unknown_fields: bool,
    reference: Literal["2", "3"],
    with_coverage: bool,
    least_percent: float | None,
    output: str,
) -> None:
    """Run rule unit tests, files in promtool's format, on this program's engine.

    With --coverage it tells which rules, which branches of an `or`, and which branches of texts no test has made true.
    Exit code 1 where a test failed, or less is covered than asked, 2 where the command is used wrongly.
    """
    from exporter.rules.promtool.coverage import Coverage, percent, render
    from exporter.rules.promtool.results import junit
    from exporter.rules.promtool.runner import run_tests

    began_at = datetime.now(UTC)
    coverage = Coverage() if with_coverage or least_percent is not None else None
    try:
        results = run_tests(
            list(dict.fromkeys(files)),
            names,
            ignore_unknown_fields=ignore_unknown_fields,
            coverage=coverage,
            reference=2 if reference == "2" else 3,
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--run") from None
    if junit_file is not None:
        write_file(junit_file, junit(results, began_at))
    parts = coverage.parts() if coverage is not None else []
    if output == "json":
        listed = [
            {"file": r.file, "passed": r.passed, "failures": [f.render(diff=diff).strip() for f in r.failures]}
            for r in results
        ]
        covered = {"percent": percent(parts), "parts": list(map(asdict, parts))}
        click.echo(json.dumps(listed if coverage is None else {"files": listed, "coverage": covered}, indent=2))
    else:
        for result in results:
            click.echo(result.render(diff=diff), nl=False)
        if coverage is not None:
            click.echo(render(parts))
    is_covered = least_percent is None or percent(parts) >= least_percent
    if not is_covered:
        click.echo(f"{percent(parts):.1f} % of the rules are covered, less than {least_percent:g} %", err=True)
    sys.exit(0 if is_covered and all(result.passed for result in results) else 1)


@rules.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FILE)
@click.option(
    "--also", metavar="FILE", multiple=True, type=FILE, help="Rules that only Prometheus evaluates, as they are."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("prometheus", "kubernetes")),
    default="prometheus",
    show_default=True,
    help="A rule file, or the Prometheus operator's PrometheusRule.",
)
@click.option("--name", default="dict-rate-limit", show_default=True, help="The PrometheusRule's name.")
def export(*, files: tuple[str, ...], also: tuple[str, ...], form: str, name: str) -> None:
    """Write rules for Prometheus, with the figures that notifications show.

    Names, expressions and labels stay as they are. Annotations are added that ask Prometheus for the bucket's tokens,
    capacity, lowest level and so on. Exit code 2 where a file does not load.
    """
    from exporter.rules.export import custom_resource, rule_file, to_yaml

    document = rule_file([escape(file) for file in files], [Path(path) for path in also])
    if form == "kubernetes":
        document = custom_resource(document, name)
    sources = ", ".join((*files, *also))
    click.echo(f"# Made by dict-rate-limit rules export from {sources}: change these instead.")
    click.echo(to_yaml(document), nl=False)

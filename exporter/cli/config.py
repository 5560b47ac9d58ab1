"""``config check`` and ``config schema``."""

from __future__ import annotations

import json

import click

from exporter import __version__, telemetry
from exporter.cli.exit_codes import print_error
from exporter.cli.options import output, service_flags, start_logging
from exporter.cli.preflight import Role
from exporter.config import Configuration, json_schema, masked
from exporter.errors import ConfigurationError, RuleFileInvalid


@click.group()
def config() -> None:
    """The configuration file."""


@config.command()
@click.option(
    "--role", type=click.Choice(["run", "exporter", "reconciler"]), help="Check that it could start in this role."
)
@output("yaml", "json")
@service_flags
def check(configuration: Configuration, role: Role | None, output: str) -> None:
    """Validate the configuration and print it, secrets masked.

    Reports what the start of that role would refuse, in the same words: missing settings, files that are missing or
    cannot be used, addresses, the web configuration file, rule files. Without --role, checks whatever is set and
    requires nothing. Every problem is a line of its own; the exit code is then 2.
    """
    from exporter.cli.preflight import check_rules, check_start

    settings = configuration.settings
    start_logging(click.get_current_context().params["log_level"] or "warning", settings.log.format)
    for remark in check_start(configuration, role):
        print_error(remark)
    telemetry.configure_tracing(
        settings.tracing.otlp_endpoint, settings.tracing.sample_ratio, role=role or "run", version=__version__
    )()
    rule_problems = check_rules(configuration, role)
    if configuration.problems:
        raise ConfigurationError(*configuration.problems, *rule_problems)
    if rule_problems:
        raise RuleFileInvalid("\n".join(rule_problems))
    if output == "json":
        click.echo(json.dumps(masked(settings), indent=2))
    else:
        import yaml

        click.echo(yaml.safe_dump(masked(settings), sort_keys=False).rstrip())


@config.command()
def schema() -> None:
    """Print the configuration file's JSON Schema, for editors."""
    click.echo(json.dumps(json_schema(), indent=2))

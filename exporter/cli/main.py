"""The command ``dict-rate-limit``: services, demo, simulator, ``migrate`` and ``config``; other commands are added."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC
from typing import TYPE_CHECKING, Any

import click

from exporter import __version__, environment, telemetry
from exporter.cli import alerts, history, rules
from exporter.cli.exit_codes import print_error, run_command
from exporter.cli.options import configured, duration, log_level, output, service_flags, start_logging
from exporter.config.configuration import Configuration
from exporter.config.secrets import masked
from exporter.config.settings import Settings, TlsSettings, json_schema
from exporter.errors import ConfigurationError, RuleFileInvalid

if TYPE_CHECKING:
    from exporter.cli.preflight import Role

log = logging.getLogger(__name__)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(
    __version__, prog_name="dict-rate-limit", message="%(prog)s %(version)s (Python " + sys.version.split()[0] + ")"
)
def cli() -> None:
    """Watches the token buckets of DICT, the Pix key directory: metrics, alerts, events."""


@cli.command()
@service_flags
def run(configuration: Configuration) -> None:
    """Run exporter and reconciler in one process (the usual deployment)."""
    from exporter.service import run_both

    _serve("run", configuration, run_both)


@cli.command()
@service_flags
def exporter(configuration: Configuration) -> None:
    """Poll the Bridge; serve metrics and the poll feed. Needs no database and no broker."""
    from exporter.service import run_exporter

    _serve("exporter", configuration, run_exporter)


@cli.command()
@service_flags
def reconciler(configuration: Configuration) -> None:
    """Follow the feeds of exporters; evaluate rules, persist alerts, relay events."""
    from exporter.service import run_reconciler

    _serve("reconciler", configuration, run_reconciler)


@cli.command()
@click.option("--duration", "duration_seconds", type=duration, help="End after this time, such as 60s.")
@click.option("--scenario", default="demo", show_default=True, help="A shipped scenario, or a scenario file.")
@click.option(
    "--participants", type=click.IntRange(1, 1000), default=2, show_default=True, help="How many participants."
)
@click.option(
    "--web.listen-address",
    "listen_address",
    default="127.0.0.1:9862",
    show_default=True,
    help="Address of metrics and status page.",
)
@log_level("error")
def demo(*, log_level: str, **options: Any) -> None:
    """Run the whole system on this machine: simulator, PostgreSQL, broker, exporter, reconciler."""
    telemetry.configure_logging(log_level, "logfmt")
    environment.forget_other_servers()
    from exporter.demo.run import run_demo

    _run(run_demo(**options))


@cli.command("bridge-simulator")
@click.option("--scenario", default="steady", show_default=True, help="A shipped scenario, or a scenario file.")
@click.option("--listen-address", "address", default="127.0.0.1:50051", show_default=True, help="Address to listen on.")
@click.option(
    "--participants", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many participants."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same run.")
@click.option("--tls.ca-file", "ca_file", help="CA of the clients' certificates; with it, a client must show one.")
@click.option("--tls.cert-file", "cert_file", help="Server certificate (none: plaintext).")
@click.option("--tls.key-file", "key_file", help="Key of the server certificate.")
@log_level("info")
def bridge_simulator(
    *, ca_file: str | None, cert_file: str | None, key_file: str | None, log_level: str, **options: Any
) -> None:
    """Serve a gRPC Bridge with real token buckets and scripted traffic."""
    telemetry.configure_logging(log_level, "logfmt")
    from exporter.simulator.server import run as run_simulator

    if (cert_file is None) != (key_file is None):
        flags = ("--tls.cert-file", "--tls.key-file")
        raise click.UsageError("{} needs {}.".format(*(flags if cert_file else reversed(flags))))
    if ca_file is not None and cert_file is None:
        raise click.UsageError("--tls.ca-file needs --tls.cert-file and --tls.key-file: without them it is plaintext.")
    tls = TlsSettings(ca_file=ca_file, cert_file=cert_file, key_file=key_file) if cert_file else None
    _run(run_simulator(**options, tls=tls))


@cli.command()
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


@cli.group()
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


for _command in (alerts.alerts, alerts.audit, history.explain, rules.rules):
    cli.add_command(_command)


def main() -> None:
    """Runs the command line; an error is one clear line on stderr."""
    sys.exit(
        run_command(lambda: cli.main(prog_name="dict-rate-limit", standalone_mode=False, obj=environment.prepare()))
    )


def _serve(role: Role, configuration: Configuration, service: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    from exporter.cli.preflight import check_start

    check_start(configuration, role)
    settings = configuration.validated()
    start_logging(settings.log.level, settings.log.format)
    finish = telemetry.configure_tracing(
        settings.tracing.otlp_endpoint, settings.tracing.sample_ratio, role=role, version=__version__
    )
    log.info("starting", extra={"role": role, "version": __version__})
    try:
        _run(service(settings))
    finally:
        finish()
    log.info("stopped")


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)

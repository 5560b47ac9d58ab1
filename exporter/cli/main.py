"""The command ``dict-rate-limit``: the services, the demo and the Bridge simulator; all other commands are added."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import click

from exporter import __version__, environment, telemetry
from exporter.cli import alerts, config, history, migrate
from exporter.cli import rules as rule_commands
from exporter.cli.exit_codes import run_command
from exporter.cli.options import DURATION, log_level, service_flags, start_logging

if TYPE_CHECKING:
    from exporter.cli.preflight import Role
    from exporter.config import Configuration, Settings

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
@click.option("--duration", type=DURATION, help="End after this time, such as 60s.")
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
def demo(duration: float | None, scenario: str, participants: int, listen_address: str, log_level: str) -> None:
    """Run the whole system on this machine: simulator, PostgreSQL, broker, exporter, reconciler."""
    telemetry.configure_logging(log_level, "logfmt")
    environment.forget_other_servers()
    from exporter.demo.run import run_demo

    _run(
        run_demo(
            duration_seconds=duration,
            scenario=scenario,
            participants=participants,
            listen_address=listen_address,
        )
    )


@cli.command("bridge-simulator")
@click.option("--scenario", default="steady", show_default=True, help="A shipped scenario, or a scenario file.")
@click.option("--listen-address", default="127.0.0.1:50051", show_default=True, help="Address to listen on.")
@click.option(
    "--participants", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many participants."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same run.")
@click.option("--tls.ca-file", "ca_file", help="CA of the clients' certificates; with it, a client must show one.")
@click.option("--tls.cert-file", "cert_file", help="Server certificate (none: plaintext).")
@click.option("--tls.key-file", "key_file", help="Key of the server certificate.")
@log_level("info")
def bridge_simulator(
    scenario: str,
    listen_address: str,
    participants: int,
    seed: int,
    ca_file: str | None,
    cert_file: str | None,
    key_file: str | None,
    log_level: str,
) -> None:
    """Serve a gRPC Bridge with real token buckets and scripted traffic."""
    telemetry.configure_logging(log_level, "logfmt")
    from exporter.config import TlsSettings
    from exporter.simulator.server import run as run_simulator

    if (cert_file is None) != (key_file is None):
        flags = ("--tls.cert-file", "--tls.key-file")
        raise click.UsageError("{} needs {}.".format(*(flags if cert_file else reversed(flags))))
    if ca_file is not None and cert_file is None:
        raise click.UsageError("--tls.ca-file needs --tls.cert-file and --tls.key-file: without them it is plaintext.")
    tls = TlsSettings(ca_file=ca_file, cert_file=cert_file, key_file=key_file) if cert_file else None
    _run(run_simulator(scenario, address=listen_address, participants=participants, seed=seed, tls=tls))


@cli.group()
def rules() -> None:
    """Alerting rules."""


for _command in (migrate.migrate, alerts.alerts, alerts.audit, config.config, history.explain):
    cli.add_command(_command)
for _command in (history.backtest, history.capture):
    rules.add_command(_command)
rule_commands.add_to(rules)


def main() -> None:
    """Runs the command line; an error is one clear line on stderr."""

    def command() -> object:
        return cli.main(prog_name="dict-rate-limit", standalone_mode=False, obj=environment.prepare())

    sys.exit(run_command(command))


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

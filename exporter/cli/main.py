"""Commands and flags, nothing else."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
from dataclasses import dataclass
from datetime import UTC
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from exporter import __version__, environment, telemetry
from exporter.addresses import address_problems
from exporter.alerts.alert import Severity
from exporter.cli import history as history_commands
from exporter.cli import rules as rule_commands
from exporter.cli.exit_codes import FAILED, ended
from exporter.cli.exit_codes import say as complain
from exporter.cli.options import (
    DURATION,
    PARTICIPANT,
    TIME,
    Ignored,
    config_file,
    configured,
    log_format,
    log_level,
    output,
    period_between,
    say_what_is_ignored,
)
from exporter.config import Configuration, Settings, masked
from exporter.errors import ConfigurationError, RuleFileInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime
    from pathlib import Path

    from exporter.buckets.bucket import Ispb
    from exporter.cli.preflight import Role

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Flags:
    """Flags given anywhere on the command line; None: not given."""

    config_file: Path | None = None
    listen_address: str | None = None
    web_config_file: str | None = None
    enable_lifecycle: bool | None = None
    log_level: str | None = None
    log_format: str | None = None

    def configuration(self) -> Configuration:
        """Returns file, then environment, then flags, with all that is wrong. Raises ConfigurationError."""
        found = Configuration(self.config_file, os.environ)
        for section, values in (
            ("web", {"listen-address": self.listen_address, "config.file": self.web_config_file}),
            ("web", {"enable-lifecycle": self.enable_lifecycle}),
            ("log", {"level": self.log_level, "format": self.log_format}),
        ):
            given = {re.sub("[-.]", "_", name): (f"--{section}.{name}", value) for name, value in values.items()}
            found.replace(section, {name: told for name, told in given.items() if told[1] is not None})
        return found

    def settings(self) -> Settings:
        """Returns the settings, for who starts no role. Raises ConfigurationError with all that is wrong."""
        found = self.configuration()
        found.tell(address_problems(found.settings))
        return found.sound()


def flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags that every service command takes; hands them over as ``flags``."""
    options = [
        config_file(),
        click.option("--web.listen-address", "listen_address", help="Address to listen on (default 0.0.0.0:9862)."),
        click.option("--web.config.file", "web_config_file", help="TLS and basic auth, in exporter-toolkit's format."),
        click.option(
            "--web.enable-lifecycle",
            "enable_lifecycle",
            is_flag=True,
            default=None,
            # It is taken, and has no effect: an exporter has no rules to read again.
            hidden=command.__name__ == "exporter",
            help="Allow POST /-/reload.",
        ),
        log_level(),
        log_format(),
    ]

    @wraps(command)
    def wrapped(**values: Any) -> Any:
        names = Flags.__dataclass_fields__
        given = Flags(**{name: values.pop(name) for name in list(values) if name in names})
        return command(flags=given, **values)

    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(
    __version__, prog_name="dict-rate-limit", message="%(prog)s %(version)s (Python " + sys.version.split()[0] + ")"
)
def cli() -> None:
    """Watches the token buckets of DICT, the Pix key directory: metrics, alerts, events."""


@cli.command()
@flags
def run(flags: Flags) -> None:
    """Exporter and reconciler in one process (the usual deployment)."""
    from exporter.service import run_both

    _serve("run", flags, run_both)


@cli.command()
@flags
def exporter(flags: Flags) -> None:
    """Poll the Bridge; serve metrics and the poll feed. Needs no database and no broker."""
    from exporter.service import run_exporter

    _serve("exporter", flags, run_exporter)


@cli.command()
@flags
def reconciler(flags: Flags) -> None:
    """Follow exporters' feeds; persist, evaluate, relay."""
    from exporter.service import run_reconciler

    _serve("reconciler", flags, run_reconciler)


@cli.command()
@click.option("--duration", type=DURATION, help="End by itself after this time, such as 60s.")
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
    """The whole system on this machine: simulator, PostgreSQL, broker, exporter, reconciler."""
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
    """A gRPC Bridge with real token buckets and scripted traffic."""
    telemetry.configure_logging(log_level, "logfmt")
    from exporter.config import TlsSettings
    from exporter.simulator.server import run as run_simulator

    _check_tls_flags(ca_file, cert_file, key_file)
    tls = TlsSettings(ca_file=ca_file, cert_file=cert_file, key_file=key_file) if cert_file else None
    _run(run_simulator(scenario, address=listen_address, participants=participants, seed=seed, tls=tls))


def _check_tls_flags(ca_file: str | None, cert_file: str | None, key_file: str | None) -> None:
    if (cert_file is None) != (key_file is None):
        given, missing = ("--tls.cert-file", "--tls.key-file") if cert_file else ("--tls.key-file", "--tls.cert-file")
        raise click.UsageError(f"{given} needs {missing}.")
    if ca_file is not None and cert_file is None:
        raise click.UsageError("--tls.ca-file needs --tls.cert-file and --tls.key-file: without them it is plaintext.")


@cli.command()
@click.argument("action", type=click.Choice(["status", "up", "down"]), default="status")
@click.option(
    "--steps", type=click.IntRange(1), default=1, show_default=True, help="How many migrations `down` undoes."
)
@click.option("--yes", is_flag=True, help="Let `down` drop tables and columns that hold data, and do not ask.")
@configured
def migrate(settings: Settings, action: str, steps: int, yes: bool) -> None:  # noqa: FBT001
    """Database schema: what is applied, apply all, or undo the last."""
    from exporter.store import migrations
    from exporter.store.database import configured_dsn

    dsn = configured_dsn(settings.database)
    if action == "up":
        applied = _run(migrations.up(dsn, progress=lambda name: click.echo(f"applied {name}")))
        click.echo(f"{len(applied)} migrations applied" if applied else "nothing to apply: the schema is current")
    elif action == "down":
        lost = [] if yes else _run(migrations.would_lose(dsn, steps=steps))
        if lost:
            complain("this drops data for good: " + "; ".join(lost))
            if not sys.stdin.isatty():
                raise click.UsageError("Say --yes where that is meant.")
            click.confirm("Go on?", abort=True)
        for name in _run(migrations.down(dsn, steps=steps)):
            click.echo(f"undone {name}")
    else:
        for line in _run(migrations.status(dsn)):
            state = f"applied {line.applied_at.astimezone(UTC).isoformat()}" if line.applied_at else "pending"
            click.echo(f"{line.name}  {state}")


@cli.command()
@click.option("--all", "all_", is_flag=True, help="History too, not only open alerts.")
@click.option("--participant", type=PARTICIPANT, help="Only this ISPB.")
@click.option("--policy", help="Only alerts about this policy.")
@click.option("--alert", "name", help="Only alerts of this name.")
@click.option(
    "--severity", type=click.Choice([str(severity) for severity in Severity]), help="Only alerts of this severity."
)
@click.option(
    "--since", type=TIME, help="Of history, too, what was open at this time or later: how long ago, or a time in UTC."
)
@click.option("--until", type=TIME, help="Of history, too, what began before this time.")
@output("table", "json", "csv")
@click.option(
    "--limit", type=click.IntRange(1), default=500, show_default=True, help="How many to list, from the newest."
)
@configured
def alerts(
    *,
    settings: Settings,
    all_: bool,
    participant: Ispb | None,
    policy: str | None,
    name: str | None,
    severity: str | None,
    since: datetime | None,
    until: datetime | None,
    output: str,
    limit: int,
) -> None:
    """Open alerts, as the database has them. Standard error says of when they are, and which process leads.

    Reads only: a standby serves. An unknown name is an error, with the nearest one.
    """
    from exporter.cli.listing import Wanted, list_alerts, shown

    if since is not None and until is not None:
        period_between(since, until, "--since", "--until")
    history = all_ or since is not None or until is not None
    wanted = Wanted(history, participant, policy, name, severity, since, until)
    listing = _run(list_alerts(settings, wanted, limit=limit))
    click.echo(shown(listing.alerts, output), nl=False)
    if listing.more:
        click.echo(f"Only the newest {limit:,} are shown: --limit shows more.", err=True)
    click.echo(listing.as_of, err=True)


@cli.group()
def audit() -> None:
    """The record of what alerts did."""


@audit.command()
@click.option("--head", help="A head that was printed before: fails unless it still is part of the record.")
@configured
def verify(settings: Settings, head: str | None) -> None:
    """Proves that no recorded transition was changed or taken out.

    Each carries the hash of the one before it; this follows them from the first to the last. Exit code 1 where one does
    not follow, each named. Keep the head that it prints elsewhere: who may do everything in the database may forge all.
    """
    from exporter.cli.listing import verify_audit

    text, defects = _run(verify_audit(settings, _hash(head)))
    click.echo(text)
    for defect in defects:
        complain(defect)
    if defects:
        sys.exit(FAILED)


def _hash(text: str | None) -> bytes | None:
    if text is None:
        return None
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise click.BadParameter("is not a SHA-256 hash of 64 hexadecimal digits", param_hint="--head")
    return bytes.fromhex(text)


@cli.group()
def config() -> None:
    """The configuration file."""


@config.command("check")
@click.option("--role", type=click.Choice(["run", "exporter", "reconciler"]), help="Whether it could start as this.")
@output("yaml", "json")
@flags
def config_check(flags: Flags, role: Role | None, output: str) -> None:
    """Validate the configuration and print it, secrets masked.

    What that role's start would refuse is refused in the same words: files that are missing or do not fit, addresses,
    the web configuration file, rule files, what is not set. Without --role what is given is looked at, and nothing is
    missing. All that is wrong is told, a line each; exit code 2.
    """
    from exporter.cli.preflight import check_rules, check_start

    configuration = flags.configuration()
    settings = configuration.settings
    telemetry.configure_logging(flags.log_level or "warning", settings.log.format)
    say_what_is_ignored()
    for remark in check_start(configuration, role):
        complain(remark)
    _tracing(settings, role or "run")()
    rules = check_rules(configuration, role)
    if configuration.problems:
        raise ConfigurationError(*configuration.problems, *rules)
    if rules:
        raise RuleFileInvalid("\n".join(rules))
    shown = masked(settings)
    if output == "json":
        click.echo(json.dumps(shown, indent=2))
    else:
        import yaml

        click.echo(yaml.safe_dump(shown, sort_keys=False).rstrip())


@config.command("schema")
def config_schema() -> None:
    """Print the configuration file's JSON Schema, for editors."""
    from exporter.config import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@cli.group()
def rules() -> None:
    """Alerting rules."""


rule_commands.add_to(rules)
history_commands.add_to(cli, rules)


def main() -> None:
    """Runs the command line; what goes wrong is one clear line on stderr."""
    sys.exit(ended(_command))


def _command() -> object:
    return cli.main(prog_name="dict-rate-limit", standalone_mode=False, obj=Ignored(environment.prepare()))


def _quiet(flags: Flags) -> Settings:
    """Returns the settings for a command that prints an answer: only warnings are logged unless asked."""
    settings = flags.settings()
    telemetry.configure_logging(flags.log_level or "warning", settings.log.format)
    say_what_is_ignored()
    return settings


def _serve(role: Role, flags: Flags, service: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    from exporter.cli.preflight import check_start

    configuration = flags.configuration()
    check_start(configuration, role)
    settings = configuration.sound()
    telemetry.configure_logging(settings.log.level, settings.log.format)
    say_what_is_ignored()
    finish = _tracing(settings, role)
    log.info("starting", extra={"role": role, "version": __version__})
    try:
        _run(service(settings))
    finally:
        finish()
    log.info("stopped")


def _tracing(settings: Settings, role: str) -> Callable[[], None]:
    tracing = settings.tracing
    return telemetry.configure_tracing(tracing.otlp_endpoint, tracing.sample_ratio, role=role, version=__version__)


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)

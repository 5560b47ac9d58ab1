"""Flags that several commands share, the types of their values, and the configuration that they select."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exporter.buckets.bucket import Ispb
from exporter.clock import in_utc
from exporter.config.configuration import Configuration, load_settings
from exporter.durations import parse_duration
from exporter.errors import DictRateLimitError
from exporter.telemetry import configure_logging

if TYPE_CHECKING:
    from exporter.history.replay import Period

log = logging.getLogger(__name__)

FILE = click.Path(exists=True, dir_okay=False, readable=True)
OUTPUT_FILE = click.Path(dir_okay=False, path_type=Path)


def write_file(path: Path, text: str) -> None:
    """Raises DictRateLimitError where it cannot be written."""
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise DictRateLimitError(f"{path}: cannot be written: {error.strerror}") from error


def ispb(text: str) -> Ispb:
    if not re.fullmatch("[0-9]{8}", text):
        raise click.BadParameter(f"{text!r} is not an ISPB: eight digits")
    return Ispb(text)


def duration(text: str) -> float:
    """Returns seconds."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def time(text: str) -> datetime:
    """Returns a time, written in ISO 8601 (UTC unless it says otherwise), or as how long ago it was."""
    with suppress(ValueError, OverflowError):
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is not a time: write 2026-03-10T12:00:00Z, or how long ago, such as 30d"
        raise click.BadParameter(message) from error
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def output(*choices: str) -> Callable[[Any], Any]:
    """Adds ``--output``; the first of the choices is the default."""
    return click.option(
        "--output", type=click.Choice(choices), default=choices[0], show_default=True, help="Format of the output."
    )


def log_level(default: str | None = None) -> Callable[[Any], Any]:
    """Adds ``--log.level``."""
    return click.option(
        "--log.level",
        "log_level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default=default,
        show_default=True,
        help="Log messages of this level and above. debug also shows the traceback of an error.",
    )


config_file = click.option(
    "--config.file", "config_file", type=click.Path(path_type=Path), help="Configuration file (YAML)."
)
_log_format = click.option(
    "--log.format", "log_format", type=click.Choice(["logfmt", "json"]), help="Format of log messages."
)


def configured(command: Callable[..., None]) -> Any:
    """Adds the flags of a command that reads the configuration and prints a result; passes ``settings``.

    Logs warnings and errors only, unless ``--log.level`` is given.
    """

    @config_file
    @log_level()
    @_log_format
    @wraps(command)
    def wrapped(*, config_file: Path | None, log_level: str | None, log_format: Any, **values: Any) -> None:
        settings = load_settings(config_file)
        start_logging(log_level or "warning", log_format or settings.log.format)
        command(settings=settings, **values)

    return wrapped


def service_flags(command: Callable[..., Any]) -> Any:
    """Adds the flags of a service; passes ``configuration``: file, then environment, then flags, with all problems."""

    @config_file
    @click.option("--web.listen-address", "web_listen_address", help="Address to listen on (default 0.0.0.0:9862).")
    @click.option("--web.config.file", "web_config_file", help="TLS and basic auth, in exporter-toolkit's format.")
    @click.option(
        "--web.enable-lifecycle",
        "web_enable_lifecycle",
        is_flag=True,
        default=None,
        # Accepted without effect: an exporter has no rules to reload.
        hidden=command.__name__ == "exporter",
        help="Allow POST /-/reload.",
    )
    @log_level()
    @_log_format
    @wraps(command)
    def wrapped(*, config_file: Path | None, **values: Any) -> Any:
        configuration = Configuration(config_file, os.environ)
        for option in click.get_current_context().command.params:
            section, _, key = str(option.name).partition("_")
            if section in ("web", "log") and (value := values.pop(str(option.name))) is not None:
                configuration.override(f"{section}.{key}", value, flag=option.opts[0])
        return command(configuration=configuration, **values)

    return wrapped


def start_logging(level: str, format_: Any) -> None:
    """Configures logging; logs the environment variables removed at the start, which are click's context object."""
    configure_logging(level, format_)
    for name in click.get_current_context().obj or ():
        log.warning("environment variable ignored, see docs/configuration.md", extra={"variable": name})


def period_between(since: datetime, until: datetime, begin: str, end: str) -> Period:
    """Raises click.UsageError where the time of the flag ``begin`` is not before that of ``end``."""
    from exporter.history.replay import Period

    if since >= until:
        raise click.UsageError(f"{begin} ({in_utc(since)}) must be before {end} ({in_utc(until)})")
    return Period(since, until)

"""Flags that several commands take, and the kinds of values that they take."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exporter.buckets.bucket import Ispb
from exporter.config import load_settings
from exporter.durations import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.history.replay import Period

log = logging.getLogger(__name__)

FILE = click.Path(exists=True, dir_okay=False, readable=True)
ISPB_DIGITS = 8


class _Participant(click.ParamType["Ispb"]):
    name = "ispb"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Ispb:
        if not (isinstance(value, str) and len(value) == ISPB_DIGITS and value.isascii() and value.isdigit()):
            self.fail(f"{value!r} is not an ISPB: eight digits", param, ctx)
        return Ispb(value)


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Time(click.ParamType[datetime]):
    """A time, ISO 8601 (UTC unless it says otherwise), or how long ago it was."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return datetime.now(UTC) - timedelta(seconds=parse_duration(value))
        except (ValueError, OverflowError):
            pass
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time: write 2026-03-10T12:00:00Z, or how long ago, such as 30d", param, ctx)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


PARTICIPANT = _Participant()
DURATION = _Duration()
TIME = _Time()


def output(*choices: str) -> Callable[[Any], Any]:
    """Adds ``--output``; the first of the choices is the default."""
    return click.option(
        "--output", type=click.Choice(choices), default=choices[0], show_default=True, help="How the answer is written."
    )


def config_file() -> Callable[[Any], Any]:
    """Adds ``--config.file``."""
    return click.option(
        "--config.file", "config_file", type=click.Path(path_type=Path), help="Configuration file (YAML)."
    )


def log_level(default: str | None = None) -> Callable[[Any], Any]:
    """Adds ``--log.level``."""
    levels = click.Choice(["debug", "info", "warning", "error"])
    return click.option(
        "--log.level",
        "log_level",
        type=levels,
        default=default,
        show_default=True,
        help="What is logged: this and what is worse. debug also shows the traceback of an error.",
    )


def log_format() -> Callable[[Any], Any]:
    """Adds ``--log.format``."""
    return click.option(
        "--log.format", "log_format", type=click.Choice(["logfmt", "json"]), help="How log lines are written."
    )


def configured(command: Callable[..., None]) -> Any:
    """Adds the flags of a command that reads the configuration and prints an answer; hands over ``settings``.

    Only warnings are logged unless asked.
    """

    @config_file()
    @log_level()
    @log_format()
    @wraps(command)
    def wrapped(*, config_file: Path | None, log_level: str | None, log_format: Any, **given: Any) -> None:
        from exporter.telemetry import configure_logging

        settings = load_settings(config_file)
        configure_logging(log_level or "warning", log_format or settings.log.format)
        say_what_is_ignored()
        command(settings=settings, **given)

    return wrapped


@dataclass(frozen=True, slots=True)
class Ignored:
    """Variables of libraries that were taken away."""

    variables: Sequence[str]


def say_what_is_ignored() -> None:
    """Logs each."""
    ignored = click.get_current_context().find_object(Ignored)
    for name in ignored.variables if ignored else ():
        log.warning("a variable of the environment is ignored: see docs/configuration.md", extra={"variable": name})


def period_between(since: datetime, until: datetime, begin: str, end: str) -> Period:
    """Raises click.UsageError where the flags ``begin`` and ``end`` are the wrong way round."""
    from exporter.history.replay import Period

    if since >= until:
        raise click.UsageError(f"{begin} ({since:%Y-%m-%d %H:%M:%S}) must be before {end} ({until:%Y-%m-%d %H:%M:%S})")
    return Period(since, until)

"""How a command ends: its exit code, and a line on stderr for each error. docs/cli.md has the table of codes."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import click

from exporter import files
from exporter.errors import ConfigurationError, DictRateLimitError, RuleFileInvalid

log = logging.getLogger(__name__)

DONE: Final = 0
FAILED: Final = 1
WRONG: Final = 2
INTERRUPTED: Final = 130

_WRITE_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""On standard output: a command reports errors of its own files itself, by name."""


def run_command(command: Callable[[], object]) -> int:
    """Runs ``command``; returns the exit code after reporting any error on stderr. Lets SystemExit pass."""
    try:
        code = command()
        sys.stdout.flush()
    except click.exceptions.Abort:
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return WRONG
    except Exception as error:
        lines, code = _report(error)
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            log.exception("command failed")
        for line in lines:
            print_error(line)
        return code
    return code if isinstance(code, int) else DONE


def _report(error: Exception) -> tuple[Sequence[str], int]:
    if isinstance(error, click.ClickException):
        return [_usage(error)], WRONG
    if isinstance(error, ConfigurationError):
        return error.problems, WRONG
    if isinstance(error, DictRateLimitError):
        return str(error).splitlines(), WRONG if isinstance(error, RuleFileInvalid) else FAILED
    if isinstance(error, OSError) and error.filename is None and error.errno in _WRITE_ERRORS:
        files.discard_stdout()
        return [f"standard output cannot be written to: {error.strerror}"], FAILED
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"
    how = "--log.level debug shows where: please report it as a defect"
    return [f"this should not have happened: {what}; {how}"], FAILED


def _usage(error: click.ClickException) -> str:
    """Returns click's error as one line: the command, what is wrong with it, and where to look it up."""
    message = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return message
    path = context.command_path
    command = path.partition(" ")[2]
    end = "" if message.endswith((".", "?")) else "."
    return f"{command + ': ' if command else ''}{message}{end} Try '{path} --help'."


def print_error(line: str) -> None:
    """Writes a line to stderr, if that can be written to."""
    with suppress(OSError):
        click.echo(f"dict-rate-limit: {line}", err=True)

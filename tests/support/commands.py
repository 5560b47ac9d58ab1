"""A command line run in this process, as a person types it."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exporter.cli import main as cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest


@contextmanager
def commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Yields a function that returns exit code, what was printed, and what was said on stderr."""
    monkeypatch.delenv("DICT_RATE_LIMIT_DATABASE__DSN", raising=False)

    def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
        for name, value in environment.items():
            monkeypatch.setenv(f"DICT_RATE_LIMIT_{name}", value)
        monkeypatch.setattr(sys, "argv", ["dict-rate-limit", *arguments])
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        else:
            code = 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        yield run
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(capture=False)

"""A backtest's progress bar, on stderr where that is a terminal."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exporter.buckets.bucket import Ispb

if TYPE_CHECKING:
    from exporter.backtest.backtest import Progress
    from exporter.history.replay import Period


@contextmanager
def progress_bar(participants: Sequence[Ispb], period: Period) -> Iterator[Progress]:
    """Yields the function that advances the bar, which disappears at the end."""
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
    done = 0

    def advance(polls: int, seconds: float) -> None:
        nonlocal done
        done += polls
        bar.update(task, advance=seconds, polls=done)

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

"""How far a backtest is, as a bar on stderr where that is a terminal."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exporter.backtest.workers import Progress
    from exporter.buckets.bucket import Ispb
    from exporter.history.replay import Period


@contextmanager
def shown(participants: Sequence[Ispb], period: Period) -> Iterator[Progress]:
    """Yields what to tell progress to. The bar is gone when the work is done."""
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

    def told(polls: int, seconds: float) -> None:
        nonlocal done
        done += polls
        bar.update(task, advance=seconds, polls=done)

    with _interruptible(), bar:
        task = bar.add_task("replaying", total=period.seconds * len(participants), polls=0)
        yield told


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt meanwhile: the bar has hidden the cursor, and processes are to be ended."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

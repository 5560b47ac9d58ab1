"""A backtest spread over processes, one per core.

A participant at a time each; where there are fewer participants than processes,
a participant's period is cut into pieces.
"""

from __future__ import annotations

import asyncio
import glob
import multiprocessing
import os
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from exporter.backtest.backtest import replayed
from exporter.backtest.time_chunks import cut, joined
from exporter.errors import DictRateLimitError
from exporter.history.replay import Period, warm_up
from exporter.rules.files.loading import load
from exporter.store.database import Database
from exporter.store.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.backtest.backtest import Past, Piece, Standing
    from exporter.buckets.bucket import Ispb
    from exporter.config import DatabaseSettings
    from exporter.rules.rule import CompiledRule

_LOOK_EVERY_SECONDS: Final = 0.1


class Progress(Protocol):
    """Hears of polls done since it last did, and of the seconds that they cover."""

    def __call__(self, polls: int, seconds: float, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked. ``rule_files`` are lists of files, each list one set of rules to try."""

    database: DatabaseSettings
    rule_files: tuple[tuple[str, ...], ...]
    period: Period

    def rule_sets(self) -> list[tuple[CompiledRule, ...]]:
        """Raises RuleFileInvalid."""
        return [load([glob.escape(file) for file in files]).rules for files in self.rule_files]


def run(job: Job, participants: Sequence[Ispb], progress: Progress, *, processes: int | None = None) -> list[Past]:
    """Returns the past of each participant, in their order.

    ``processes`` None: one per core that this process may use. Raises
    DatabaseUnavailable, RuleFileInvalid; DictRateLimitError where a process was killed.
    """
    count = processes or len(os.sched_getaffinity(0))
    periods = cut(job.period, -(-count // len(participants)), warm_up(job.rule_sets()))
    count = min(count, len(participants) * len(periods))
    if count == 1:
        pieces = [asyncio.run(_piece(job, participant, job.period, None, progress)) for participant in participants]
        return [piece.past for piece in pieces]
    context = multiprocessing.get_context("spawn")
    told: Any = context.SimpleQueue()
    with ProcessPoolExecutor(count, context, _begin, (job, told)) as pool:
        try:
            return _spread(pool, participants, periods, lambda: _pass_on(told, progress))
        except BrokenProcessPool as broken:
            raise DictRateLimitError("a process of the backtest was killed: is there enough memory?") from broken
        except BaseException:
            # Nobody wants their work any more, and it may be minutes long.
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _spread(
    pool: ProcessPoolExecutor, participants: Sequence[Ispb], periods: Sequence[Period], listen: Callable[[], None]
) -> list[Past]:
    work = [[_submit(pool, participant, period) for period in periods] for participant in participants]
    left: set[Future[Piece]] = {future for futures in work for future in futures}
    while left:
        done, left = wait(left, _LOOK_EVERY_SECONDS, FIRST_COMPLETED)
        listen()
        for future in done:
            future.result()
    listen()
    pasts = []
    for participant, futures in zip(participants, work, strict=True):
        pieces = [futures[0].result()]
        for future, period in zip(futures[1:], periods[1:], strict=True):
            piece, ended = future.result(), pieces[-1].ended
            pieces.append(piece if piece.begun == ended else _submit(pool, participant, period, ended).result())
        pasts.append(joined(pieces))
    return pasts


def _submit(
    pool: ProcessPoolExecutor, participant: Ispb, period: Period, begin: Standing | None = None
) -> Future[Piece]:
    """A process that this starts never hears of Ctrl-C, which reaches the whole group: the parent decides."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_work, participant, period, begin)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pass_on(told: Any, progress: Progress) -> None:
    while not told.empty():
        progress(*told.get())


async def _piece(job: Job, participant: Ispb, period: Period, begin: Standing | None, progress: Progress) -> Piece:
    async with Database(msgspec.structs.replace(job.database, min_size=0, max_size=1), writes=False) as database:
        return await replayed(
            Reader(database),
            participant,
            job.rule_sets(),
            period=job.period,
            part=period,
            begin=begin,
            progress=progress,
        )


_here: dict[str, Any] = {}
"""What a process of the pool was begun with."""


def _begin(job: Job, told: Any) -> None:
    _here.update(job=job, told=told)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed takes nothing with it: without this its processes would wait for work for good."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - a process of the pool has one
    parent.join()
    os._exit(1)


def _work(participant: Ispb, period: Period, begin: Standing | None = None) -> Piece:
    """``begin``: how things stood, where the piece is replayed again; progress was told of it then."""

    def progress(polls: int, seconds: float) -> None:
        if begin is None:
            _here["told"].put((polls, seconds))

    return asyncio.run(_piece(_here["job"], participant, period, begin, progress))

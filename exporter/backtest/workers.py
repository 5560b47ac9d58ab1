"""A backtest in parallel processes, one per core.

Each replays a participant at a time; where there are fewer participants than processes, a participant's period is split
into chunks. A chunk finds out its initial state itself. Where that differs from the state in which the chunk before it
ended, it is replayed again from there: so the merged result is that of one replay of the whole period.
"""

from __future__ import annotations

import asyncio
import glob
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

import msgspec

from exporter.backtest.backtest import (
    BacktestResult,
    ChunkResult,
    Coverage,
    FailedRule,
    Progress,
    ReplayState,
    RuleSetResult,
    add_failure,
    replay_chunk,
)
from exporter.buckets.bucket import Ispb
from exporter.config.settings import DatabaseSettings
from exporter.errors import DictRateLimitError
from exporter.history.episodes import ordered
from exporter.history.lookback import lookback, warm_up
from exporter.history.replay import Period, longest_of
from exporter.rules.files.compiler import DEFAULTS, Options
from exporter.rules.files.loading import load
from exporter.rules.rule import AnyCompiledRule
from exporter.store.database import Database
from exporter.store.reader import Reader

_REPORT_EVERY_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Job:
    """What to replay: ``rule_files`` are lists of files, each list one set of rules.

    A chunk is at least ``min_warm_ups`` times as long as what is read
    before it: shorter ones would cost more than they gain.
    """

    database: DatabaseSettings
    rule_files: tuple[tuple[str, ...], ...]
    period: Period
    options: Options = DEFAULTS
    min_warm_ups: int = 4

    def rule_sets(self) -> list[tuple[AnyCompiledRule, ...]]:
        """Raises RuleFileInvalid."""
        return [load([glob.escape(f) for f in files], self.options).rules for files in self.rule_files]


def run(
    job: Job, participants: Sequence[Ispb], progress: Progress, *, processes: int | None = None
) -> list[BacktestResult]:
    """Returns the result of each participant, in their order.

    ``processes`` None: one per core that this process may use. Raises
    DatabaseUnavailable, RuleFileInvalid; DictRateLimitError where a process was killed.
    """
    count = processes or len(os.sched_getaffinity(0))
    rule_sets = job.rule_sets()
    chunks = split(
        job.period, -(-count // len(participants)), job.min_warm_ups * (warm_up(rule_sets) + lookback(rule_sets))
    )
    count = min(count, len(participants) * len(chunks))
    if count == 1:
        return [asyncio.run(_replay(job, ispb, job.period, None, progress)).result for ispb in participants]
    context = multiprocessing.get_context("spawn")
    queue: Any = context.SimpleQueue()

    def forward_progress() -> None:
        while not queue.empty():
            progress(*queue.get())

    with ProcessPoolExecutor(count, context, _start_worker, (job, queue)) as pool:
        try:
            return _run_in_pool(pool, participants, chunks, forward_progress)
        except BrokenProcessPool as broken:
            raise DictRateLimitError("a process of the backtest was killed: is there enough memory?") from broken
        except BaseException:
            # Leaving the pool would wait for work that may take minutes.
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _run_in_pool(
    pool: ProcessPoolExecutor,
    participants: Sequence[Ispb],
    chunks: Sequence[Period],
    forward_progress: Callable[[], None],
) -> list[BacktestResult]:
    work = [[_submit(pool, participant, chunk) for chunk in chunks] for participant in participants]
    pending: set[Future[ChunkResult]] = {future for futures in work for future in futures}
    while pending:
        done, pending = wait(pending, _REPORT_EVERY_SECONDS, FIRST_COMPLETED)
        forward_progress()
        for future in done:
            future.result()
    forward_progress()
    results = []
    for participant, futures in zip(participants, work, strict=True):
        in_order = [futures[0].result()]
        for future, chunk in zip(futures[1:], chunks[1:], strict=True):
            result, state = future.result(), in_order[-1].final_state
            if result.initial_state != state:
                result = _submit(pool, participant, chunk, state).result()
            in_order.append(result)
        results.append(merge([chunk_result.result for chunk_result in in_order]))
    return results


def _submit(
    pool: ProcessPoolExecutor, participant: Ispb, chunk: Period, initial_state: ReplayState | None = None
) -> Future[ChunkResult]:
    """Starts a process, if need be, without SIGINT: Ctrl-C reaches the whole group, and the parent ends the others."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_work, participant, chunk, initial_state)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


async def _replay(
    job: Job, participant: Ispb, chunk: Period, initial_state: ReplayState | None, progress: Progress
) -> ChunkResult:
    async with Database(msgspec.structs.replace(job.database, min_size=0, max_size=1), writes=False) as database:
        return await replay_chunk(
            Reader(database),
            participant,
            job.rule_sets(),
            period=job.period,
            chunk=chunk,
            initial_state=initial_state,
            progress=progress,
        )


_worker: dict[str, Any] = {}
"""The arguments of `_start_worker`, in a process of the pool."""


def _start_worker(job: Job, queue: Any) -> None:
    _worker.update(job=job, queue=queue)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """A parent that is killed ends no children: without this they would wait for work permanently."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - a process of the pool has one
    parent.join()
    os._exit(1)


def _work(participant: Ispb, chunk: Period, initial_state: ReplayState | None) -> ChunkResult:
    """With ``initial_state`` it is a chunk's second replay, whose progress was reported at the first."""

    def progress(polls: int, seconds: float) -> None:
        if initial_state is None:
            _worker["queue"].put((polls, seconds))

    return asyncio.run(_replay(_worker["job"], participant, chunk, initial_state, progress))


def split(period: Period, count: int, shortest: timedelta) -> list[Period]:
    """Returns at most ``count`` chunks of equal length, in order, none shorter than ``shortest``."""
    length = period.until - period.since
    count = max(1, min(count, int(length / shortest)))
    edges = [period.since + length * index / count for index in range(count)] + [period.until]
    return [Period(since, until) for since, until in pairwise(edges)]


def merge(results: Sequence[BacktestResult]) -> BacktestResult:
    """Returns the result of the whole period. Each chunk began in the state in which the one before it ended."""
    return replace(
        results[0],
        coverage=sum((result.coverage for result in results), Coverage()),
        gaps=longest_of(gap for result in results for gap in result.gaps),
        rule_sets=tuple(map(_merge_rule_sets, zip(*(result.rule_sets for result in results), strict=True))),
    )


def _merge_rule_sets(results: Sequence[RuleSetResult]) -> RuleSetResult:
    *earlier, last = results
    # What still fires at the end of a chunk is an episode of the next one.
    ended = [episode for result in earlier for episode in result.episodes if episode.resolved_at is not None]
    failed: dict[tuple[str, str], FailedRule] = {}
    for result in results:
        for failure in result.failed:
            add_failure(failed, failure)
    return RuleSetResult(ordered([*ended, *last.episodes]), tuple(failed[key] for key in sorted(failed)))

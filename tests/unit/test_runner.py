"""A service ends when it is asked to, whatever its parts make of it."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest

from exporter import runner
from exporter.runner import Running, end_tasks, run_until_stopped


async def deaf(cancellations: int) -> None:
    """Loses so many cancellations, as Python 3.11's wait_for does when what it waits for has just come."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not cancellations:
                raise
            cancellations -= 1


@pytest.mark.parametrize("cancellations", [0, 1, 3])
async def test_a_part_that_lost_a_cancellation_is_asked_again(cancellations: int) -> None:
    tasks = {asyncio.create_task(part) for part in (deaf(0), deaf(cancellations))}
    await asyncio.sleep(0)

    await asyncio.wait_for(end_tasks(tasks, grace_seconds=0.01), 30)

    assert all(task.cancelled() for task in tasks)


async def test_a_part_has_its_time_to_finish_what_it_has_in_hand() -> None:
    finished = False

    async def finishes() -> None:
        nonlocal finished
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            finished = True

    task = asyncio.create_task(finishes())
    await asyncio.sleep(0)

    await end_tasks({task}, grace_seconds=30)

    assert finished


def test_a_process_that_does_not_end_is_ended_by_force() -> None:
    hangs = "import time; from exporter.runner import end_by_force_after; end_by_force_after(0.1); time.sleep(600)"

    ended = subprocess.run([sys.executable, "-c", hangs], check=False, capture_output=True, timeout=60)

    assert ended.returncode == 1
    assert b"process did not end in time, ending it by force" in ended.stderr


@pytest.fixture
def collector() -> Iterator[None]:
    """The garbage collector is afterwards as it was."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
async def test_what_lives_as_long_as_the_process_is_not_looked_through_for_garbage() -> None:
    stop = asyncio.Event()
    lives_on: list[list[int]] = []
    made: list[int] = []

    def fill(_: Running) -> None:
        before = full_collections()
        lives_on.extend([] for _ in range(1_000_000))
        made.append(full_collections() - before)
        stop.set()

    await run_until_stopped(stop, fill, Running((), dict))

    assert made == [0]


@pytest.mark.usefixtures("collector")
async def test_cycles_that_are_left_behind_are_freed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = asyncio.Event()
    monkeypatch.setattr(runner, "COLLECT_EVERY_SECONDS", 0.01)

    def leave_behind(_: Running) -> None:
        left = Cycle()
        weakref.finalize(left, stop.set)

    async with asyncio.timeout(10):
        await run_until_stopped(stop, leave_behind, Running((), dict))


class Cycle:
    def __init__(self) -> None:
        self.itself = self


def full_collections() -> int:
    return gc.get_stats()[2]["collections"]

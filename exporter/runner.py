"""Runs the tasks of a process until it is asked to stop, and ends them whatever hangs."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import View
from exporter.errors import first_of

log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 6.0
"""How long tasks that are cancelled may take to end; none of what they finish first takes as long."""

END_SECONDS: Final = 20.0
"""How long a process that is asked to end may take at most, whatever hangs."""

COLLECT_AFTER: Final = 500_000, 10, 10
"""The garbage collector's thresholds. Polls leave no cycles behind, so it looks in vain; and however young what it
looks through, that is most of what is known of all participants, which every interval renews. Meanwhile nothing else
goes on: with 1,000 participants for 0.5 to 0.9 s.
"""

COLLECT_EVERY_SECONDS: Final = 3600.0
"""A full collection, for where the thresholds are not reached for days. It, too, stops a process of 1,000 participants
for up to a second.
"""


@dataclass(frozen=True, slots=True)
class Running:
    """A service that has started: the addresses it listens on, and the views of the participants that it watches."""

    addresses: Sequence[str]
    views: Callable[[], Mapping[Ispb, View]]


async def run_until_stopped(
    stop: asyncio.Event | None,
    started: Callable[[Running], None] | None,
    running: Running,
    *work: Coroutine[object, object, None],
    on_hangup: Callable[[], None] | None = None,
) -> None:
    """Runs ``work`` until ``stop``. A task that fails ends the rest; its error is raised.

    Without ``stop`` the signals are the service's own: SIGTERM and SIGINT stop it.
    """
    loop = asyncio.get_running_loop()
    own_signals = stop is None
    if stop is None:
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)
        loop.add_signal_handler(signal.SIGHUP, on_hangup or _ignore_hangup)
    # The reader of this line may send a signal at once.
    log.info("listening", extra={"addresses": ", ".join(running.addresses)})
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    if started is not None:
        started(running)
    tasks = [asyncio.create_task(part) for part in (*work, _collect_garbage())]
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping" if stopping in done else "a task ended unexpectedly, stopping")
    if own_signals:
        end_by_force_after(END_SECONDS)
    await end_tasks({*tasks, stopping})
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, ExceptionGroup):
            raise first_of(result)
        if isinstance(result, Exception):
            raise result


async def _collect_garbage() -> None:
    while True:
        await asyncio.sleep(COLLECT_EVERY_SECONDS)
        if gc.isenabled():  # somebody may not want to be stopped just now
            gc.collect()


async def end_tasks(tasks: set[asyncio.Task[Any]], grace_seconds: float = GRACE_SECONDS) -> None:
    """Cancels ``tasks``, and those that go on after ``grace_seconds`` again: libraries may lose a cancellation."""
    left = tasks
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=grace_seconds)
        if left:
            log.warning("a task does not end, cancelling it again")


def end_by_force_after(seconds: float) -> None:
    def end() -> None:
        log.critical("process did not end in time, ending it by force", extra={"after_seconds": seconds})
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True  # does not outlive a process that ends in time
    timer.start()


def _ignore_hangup() -> None:
    """An exporter has no rules: SIGHUP is no reason to end."""
    log.info("SIGHUP ignored: an exporter has no rules to reload; changed certificates are noticed anyway")

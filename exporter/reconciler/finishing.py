"""Ends what was begun, for a moment, when the process is asked to end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Final

FINISH_SECONDS: Final = 2.0
"""How long a commit in hand may still take."""


async def finish(work: Coroutine[None, None, None]) -> None:
    """Waits for ``work``; where this is cancelled meanwhile, for a moment still: the polls exist nowhere else."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=FINISH_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise

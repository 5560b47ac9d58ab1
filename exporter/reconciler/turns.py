"""Turns of the event loop, between evaluations."""

from __future__ import annotations

import asyncio
import time
from typing import Final

EVALUATIONS_AT_A_TIME: Final = 8
LONG_SECONDS: Final = 0.005
"""This many evaluations, of a millisecond each, or one that is longer, until what else is due has its turn."""


async def give_way(evaluations: int, began_at: float) -> None:
    """Lets others have their turn where that is due.

    ``evaluations`` counts those that were made; the last one ``began_at`` (of the monotonic clock, in seconds).
    """
    if not evaluations % EVALUATIONS_AT_A_TIME or time.monotonic() - began_at > LONG_SECONDS:
        await asyncio.sleep(0)

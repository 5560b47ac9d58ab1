"""Waiting for what must come to pass."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


async def until(condition: Callable[[], object], *, seconds: float = 60) -> None:
    """Waits until ``condition()`` is true. Raises AssertionError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come to pass within {seconds:g}s"
        await asyncio.sleep(0.01)

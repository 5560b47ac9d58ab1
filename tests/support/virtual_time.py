"""An event loop that waits for nothing: its clock jumps to what is due next, so instants are exact on any machine."""

from __future__ import annotations

import asyncio
import selectors


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """For ``asyncio.Runner(loop_factory=VirtualTimeLoop)``; begins at 0."""

    def __init__(self) -> None:
        self._seconds = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._seconds

    def block(self, seconds: float) -> None:
        """Lets time pass in which nothing else runs, as a slow callback does."""
        self._seconds += seconds


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select()
        self._loop.block(timeout)
        return super().select(0)

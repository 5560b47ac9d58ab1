"""A clock for what takes one."""

from __future__ import annotations


class Clock:
    """Monotonic seconds, set by the test."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds

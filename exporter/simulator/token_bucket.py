"""An exact token bucket, refilled continuously or stepwise. Time is an argument, in seconds."""

from __future__ import annotations

from enum import StrEnum


class Refill(StrEnum):
    """How tokens come back: DICT does not publish which it is."""

    CONTINUOUS = "continuous"
    STEPWISE = "stepwise"


class TokenBucket:
    """A bucket of whole tokens, full at the start. Times never go back.

    In units of 1/period of a token, so that refilling is exact in integers at the resolution of a microsecond.
    Stepwise, ``refill_tokens`` arrive at each ``phase_seconds + n x period``.
    """

    __slots__ = ("_at", "_level", "capacity", "mode", "phase_us", "refill_tokens", "refill_us")

    def __init__(
        self,
        capacity: int,
        refill_tokens: int,
        refill_period_seconds: int,
        *,
        mode: Refill = Refill.CONTINUOUS,
        at: float = 0.0,
        phase_seconds: float = 0.0,
        tokens: int | None = None,
    ) -> None:
        self.capacity = capacity
        self.refill_tokens = refill_tokens
        self.refill_us = refill_period_seconds * 1_000_000
        self.mode = mode
        self.phase_us = round(phase_seconds * 1e6)
        self._at = round(at * 1e6)
        self._level = (capacity if tokens is None else tokens) * self.refill_us

    def available(self, at: float) -> int:
        """Returns the whole tokens at ``at``."""
        self._advance(at)
        return self._level // self.refill_us

    def take(self, tokens: int, at: float) -> bool:
        """Takes tokens; returns False, and takes none, where there are too few (DICT answers 429)."""
        self._advance(at)
        units = tokens * self.refill_us
        if self._level < units:
            return False
        self._level -= units
        return True

    def drain(self, tokens: int, at: float) -> int:
        """Takes up to ``tokens``; returns how many it took."""
        self._advance(at)
        taken = min(tokens, self._level // self.refill_us)
        self._level -= taken * self.refill_us
        return taken

    def give_back(self, tokens: int, at: float) -> None:
        """Gives tokens back, as a payment order does; what does not fit is lost."""
        self._advance(at)
        self._level = min(self.capacity * self.refill_us, self._level + tokens * self.refill_us)

    def resize(self, capacity: int, refill_tokens: int, at: float) -> None:
        """Continues with another capacity and refill, as after a change of category."""
        self._advance(at)
        self.capacity, self.refill_tokens = capacity, refill_tokens
        self._level = min(self._level, capacity * self.refill_us)

    def _advance(self, at: float) -> None:
        now = round(at * 1e6)
        if now <= self._at:
            return
        if self.mode is Refill.CONTINUOUS:
            gained = (now - self._at) * self.refill_tokens
        else:
            steps = (now - self.phase_us) // self.refill_us - (self._at - self.phase_us) // self.refill_us
            gained = steps * self.refill_tokens * self.refill_us
        self._level = min(self.capacity * self.refill_us, self._level + gained)
        self._at = now

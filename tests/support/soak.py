"""How long tests of kills and outages go on: a few rounds, or for minutes (``make soak MINUTES=… SEED=…``)."""

from __future__ import annotations

import os
import random
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MINUTES = float(os.environ.get("SOAK_MINUTES", "0"))
SEED = int(os.environ.get("SOAK_SEED", "11"))


def rounds(at_least: int, share: float) -> Iterator[random.Random]:
    """Yields what decides about chances, in each round: ``at_least`` rounds, and for ``share`` of the soak's minutes.

    ``share`` is a part of 1; those of all tests that go on for minutes add up to 1.
    """
    chance = random.Random(SEED)
    began = time.monotonic()
    done = 0
    while done < at_least or time.monotonic() < began + 60 * MINUTES * share:
        yield chance
        done += 1
        if MINUTES:
            print(f"round {done} of seed {SEED}, {time.monotonic() - began:.0f} s", file=sys.stderr)  # noqa: T201


def chosen(chance: random.Random, least: int, most: int) -> int:
    """Returns ``least``; in a soak any number up to ``most``."""
    return chance.randint(least, most) if MINUTES else least

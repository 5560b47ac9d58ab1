"""PostgreSQL's array literals.

Written here rather than by the driver, which takes five times as long over
the thousands of values of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime


def of_numbers(values: Iterable[float | None]) -> str:
    """Floats keep every bit; ``inf`` and ``nan`` are read by PostgreSQL as such."""
    return "{" + ",".join(["NULL" if v is None else repr(v) for v in values]) + "}"


def of_texts(values: Iterable[str | None]) -> str:
    return "{" + ",".join(["NULL" if v is None else _quoted(v) for v in values]) + "}"


def of_times(values: Iterable[datetime | None]) -> str:
    return "{" + ",".join(["NULL" if v is None else v.isoformat() for v in values]) + "}"


def of_booleans(values: Iterable[bool]) -> str:
    return "{" + ",".join(["t" if v else "f" for v in values]) + "}"


def _quoted(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'

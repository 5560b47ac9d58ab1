"""Levels of tokens left, from ok to empty."""

from __future__ import annotations

from typing import Final, Literal, get_args

from exporter.buckets.bucket import Bucket

WARNING_LEFT_PERCENT: Final = 20
CRITICAL_LEFT_PERCENT: Final = 10
"""Tokens left at which the shipped rules warn. A test holds them against the rule file."""

Level = Literal["ok", "warning", "critical", "empty"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)


def level_of(bucket: Bucket) -> Level:
    if bucket.is_empty:
        return "empty"
    if bucket.left_percent <= CRITICAL_LEFT_PERCENT:
        return "critical"
    return "warning" if bucket.left_percent <= WARNING_LEFT_PERCENT else "ok"

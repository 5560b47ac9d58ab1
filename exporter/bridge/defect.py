"""What may be wrong in an answer of the Bridge: the table in `exporter.bridge.answer` tells what happens to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Reason = Literal[
    "undecodable",
    "too_long",
    "no_policies",
    "time_going_back",
    "repeated",
    "no_response_time",
    "clock_skew",
    "unknown_category",
    "bad_correlation_id",
    "too_many_policies",
    "wrong_policy",
    "empty_name",
    "bad_name",
    "duplicate_policy",
    "bad_capacity",
    "bad_refill",
    "bad_refill_period",
    "bad_response_counts",
]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Defect:
    """Something wrong in an answer. ``policy`` is None where it is not about one policy that has a name."""

    reason: Reason
    policy: str | None
    value: str

"""DICT's published policies, for the simulator, for docs, and to notice that BACEN changed them.

A snapshot of the page "Limitação de requisições" of the DICT API. What the Bridge answers is the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from exporter.buckets.bucket import Bucket, PolicyName

MINUTE_SECONDS: Final = 60
DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Limit:
    """How a policy's bucket refills, and how much it holds."""

    refill_tokens: int
    refill_period_seconds: int
    capacity: int


def _per_minute(refill_tokens: int, capacity: int) -> Limit:
    return Limit(refill_tokens, MINUTE_SECONDS, capacity)


ANTISCAN: Final = PolicyName("ENTRIES_READ_PARTICIPANT_ANTISCAN")
USER_POLICIES: Final = (PolicyName("ENTRIES_READ_USER_ANTISCAN"), PolicyName("ENTRIES_READ_USER_ANTISCAN_V2"))
GIVEN_BACK: Final = frozenset({ANTISCAN, *USER_POLICIES})
"""Policies that payment orders give tokens back to."""

CATEGORIES: Final = {
    "A": _per_minute(25_000, 50_000),
    "B": _per_minute(20_000, 40_000),
    "C": _per_minute(15_000, 30_000),
    "D": _per_minute(8_000, 16_000),
    "E": _per_minute(2_500, 5_000),
    "F": _per_minute(250, 500),
    "G": _per_minute(25, 250),
    "H": _per_minute(2, 50),
}
"""The participant's category, and what it makes of ENTRIES_READ_PARTICIPANT_ANTISCAN."""

PERSON_TYPES: Final = {"PF": _per_minute(2, 100), "PJ": _per_minute(20, 1_000)}
"""The end user's kind, and what it makes of the two USER policies."""

_READ: Final = _per_minute(600, 18_000)
_WRITE: Final = _per_minute(1_200, 36_000)
_LIST_WITH_ROLE: Final = _per_minute(40, 200)
_LIST_WITHOUT_ROLE: Final = _per_minute(10, 50)

POLICIES_LIST: Final = PolicyName("POLICIES_LIST")
"""What a poll costs a token of."""

POLICIES_READ: Final = PolicyName("POLICIES_READ")

POLICIES: Final[dict[PolicyName, Limit | None]] = {
    PolicyName(name): limit
    for name, limit in {
        "ENTRIES_READ_USER_ANTISCAN": None,
        "ENTRIES_READ_USER_ANTISCAN_V2": None,
        "ENTRIES_READ_PARTICIPANT_ANTISCAN": None,
        "ENTRIES_STATISTICS_READ": None,
        "ENTRIES_WRITE": _WRITE,
        "ENTRIES_UPDATE": _per_minute(600, 600),
        "CLAIMS_READ": _READ,
        "CLAIMS_WRITE": _WRITE,
        "CLAIMS_LIST_WITH_ROLE": _LIST_WITH_ROLE,
        "CLAIMS_LIST_WITHOUT_ROLE": _LIST_WITHOUT_ROLE,
        "SYNC_VERIFICATIONS_WRITE": _per_minute(10, 50),
        "CIDS_FILES_WRITE": Limit(40, DAY_SECONDS, 200),
        "CIDS_FILES_READ": _per_minute(10, 50),
        "CIDS_EVENTS_LIST": _per_minute(20, 100),
        "CIDS_ENTRIES_READ": _WRITE,
        "INFRACTION_REPORTS_READ": _READ,
        "INFRACTION_REPORTS_WRITE": _WRITE,
        "INFRACTION_REPORTS_LIST_WITH_ROLE": _LIST_WITH_ROLE,
        "INFRACTION_REPORTS_LIST_WITHOUT_ROLE": _LIST_WITHOUT_ROLE,
        "KEYS_CHECK": _per_minute(70, 70),
        "REFUNDS_READ": _WRITE,
        "REFUNDS_WRITE": _per_minute(2_400, 72_000),
        "REFUND_LIST_WITH_ROLE": _LIST_WITH_ROLE,
        "REFUND_LIST_WITHOUT_ROLE": _LIST_WITHOUT_ROLE,
        "FRAUD_MARKERS_READ": _READ,
        "FRAUD_MARKERS_WRITE": _WRITE,
        "FRAUD_MARKERS_LIST": _READ,
        "PERSONS_STATISTICS_READ": _per_minute(12_000, 36_000),
        "EVENT_LIST": None,
        POLICIES_READ: _per_minute(60, 200),
        POLICIES_LIST: _per_minute(6, 20),
    }.items()
}
"""Every policy; None where the size is not published, or depends on category or person type."""


def published(policy: PolicyName, category: str | None) -> Limit | None:
    """Returns what BACEN publishes of a policy for a participant of ``category``; None: nothing, or unknown."""
    if policy == ANTISCAN:
        return CATEGORIES.get(category or "")
    return POLICIES.get(policy)


def difference(bucket: Bucket, category: str | None) -> str | None:
    """Returns how a bucket differs from what is published, as a sentence; None where it doesn't."""
    limit = published(bucket.policy, category)
    if limit is None:
        return None if bucket.policy in POLICIES else f"{bucket.policy} is not a published policy"
    answered = Limit(bucket.refill_tokens, bucket.refill_period_seconds, bucket.capacity)
    if answered == limit:
        return None
    return (
        f"{bucket.policy} holds {answered.capacity} and refills {answered.refill_tokens} per "
        f"{answered.refill_period_seconds}s; published are {limit.capacity} and {limit.refill_tokens} per "
        f"{limit.refill_period_seconds}s"
    )

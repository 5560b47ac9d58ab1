"""What a good answer of the Bridge is, and what happens to a bad one.

===============================================  ====================================  ====================
the answer holds                                 what happens to it                    counted as
===============================================  ====================================  ====================
bytes that are no answer                         refused whole                         undecodable
more than 4 MB                                   refused whole (by gRPC)               too_long
no policies                                      refused whole                         no_policies
a time before the last observation's             refused whole                         time_going_back
the last answer again, for longer than staleness refused whole (by the poller)         repeated
no response time, or one no calendar has         used, stamped with our clock          no_response_time
a response time off by more than max_clock_skew  used, stamped with our clock          clock_skew
a category that DICT does not have               used, category unknown                unknown_category
a correlation id too long or not printable       used, without it                      bad_correlation_id
more policies than limits.policies               those beyond are not read             too_many_policies
another policy than the one that was read        refused whole                         wrong_policy
a policy without a name                          refused, as are those missing         empty_name
a name too long or not printable                 refused, as are those missing         bad_name
a policy twice                                   refused: which is true is unknown     duplicate_policy
a capacity below 1                               that policy is refused                bad_capacity
a refill below 1                                 that policy is refused                bad_refill
a refill period below 1 s                        that policy is refused                bad_refill_period
response counts that cannot be                   dropped; the bucket is used           bad_response_counts
===============================================  ====================================  ====================

An answer of which no policy is left is refused whole. The same response time as
the last answer's is the same observation again: no defect, and no news. The same as
an earlier one's goes back in time. A refusal for going
back in time ends on its own, at most twice ``max_clock_skew`` after a clock was set.

The answer to a read holds one policy: the same is wrong with it, and it is refused whole where the policy is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

from exporter.bridge.defect import Defect
from exporter.bridge.stubs.rate_limit_pb2 import (
    GetRateLimitPoliciesResponse,
    GetRateLimitPolicyResponse,
    RateLimitPolicy,
)
from exporter.buckets.bucket import Bucket, Ispb, PolicyName, ResponseCounts, Snapshot
from exporter.buckets.catalog import CATEGORIES
from exporter.errors import BadAnswer

MAX_TEXT: Final = 128
"""Characters of a name, a correlation id, or an instance; a longer one is refused."""

_MAX_COUNT: Final = 2**63 - 1  # what the database holds

Response: TypeAlias = GetRateLimitPoliciesResponse | GetRateLimitPolicyResponse


ResponseTime = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """The usable part of an answer, and its defects.

    ``clock_skew_seconds`` is DICT's clock less ours; None: unknown. ``response_time`` is as it came, in seconds and
    nanoseconds; None: none came. ``is_news`` is False where the answer is the last one again.
    """

    snapshot: Snapshot
    defects: tuple[Defect, ...]
    clock_skew_seconds: float | None
    response_time: ResponseTime | None = None
    is_news: bool = True


def read(
    response: GetRateLimitPoliciesResponse | None,
    *,
    participant: Ispb,
    received_at: datetime,
    last_observed_at: datetime | None,
    max_clock_skew_seconds: float,
    seen: Sequence[ResponseTime] = (),
    known_policies: Collection[PolicyName] = (),
    max_policies: int = 256,
) -> Answer:
    """Returns the usable part of an answer; ``seen`` are the response times of the last ones, the newest last.

    ``known_policies`` come first where there are more than ``max_policies``, also those that it does not hold.

    Raises BadAnswer, with its defects, where none is usable.
    """
    if response is None:
        raise _refused(participant, [Defect("undecodable", None, "")], "it cannot be decoded")
    defects: list[Defect] = []
    time = response.response_time
    response_time = (time.seconds, time.nanos) if response.HasField("response_time") else None
    is_news = last_observed_at is None or not seen or response_time != seen[-1]
    if last_observed_at is None or is_news:
        observed_at, clock_skew_seconds = _observed_at(response, received_at, max_clock_skew_seconds, defects)
    else:
        # However long ago that was: what looks like a wrong clock is the time since then.
        observed_at, clock_skew_seconds = last_observed_at, None
    if last_observed_at is not None and (observed_at < last_observed_at or response_time in seen[:-1]):
        stated = min(observed_at, _stated_time(response) or observed_at).isoformat()
        defects.append(Defect("time_going_back", None, stated))
        why = f"its time {stated} is before that of the last one, {last_observed_at.isoformat()}"
        raise _refused(participant, defects, why)
    if not response.policies:
        defects.append(Defect("no_policies", None, ""))
        raise _refused(participant, defects, "it holds no policies")
    buckets, refused = _buckets(response, defects, known_policies, max_policies)
    if not buckets:
        reasons = ", ".join(sorted({defect.reason for defect in defects}))
        raise _refused(participant, defects, f"it holds no usable policy ({reasons})")
    snapshot = Snapshot(
        participant=participant,
        observed_at=observed_at,
        category=_category(response.category, defects),
        correlation_id=_correlation_id(response.correlation_id, defects),
        buckets=buckets,
        refused=refused,
    )
    return Answer(snapshot, tuple(defects), clock_skew_seconds, response_time, is_news)


def read_one(
    response: GetRateLimitPolicyResponse,
    *,
    participant: Ispb,
    policy: PolicyName,
    received_at: datetime,
    last_observed_at: datetime | None,
    max_clock_skew_seconds: float,
) -> Answer:
    """Returns the answer to a read of ``policy``, which was last observed at ``last_observed_at``.

    Raises BadAnswer, with its defects, where it cannot be used.
    """
    defects: list[Defect] = []
    observed_at, clock_skew_seconds = _observed_at(response, received_at, max_clock_skew_seconds, defects)
    if last_observed_at is not None and observed_at < last_observed_at:
        defects.append(Defect("time_going_back", policy, observed_at.isoformat()))
        why = f"its time {observed_at.isoformat()} is before that of the last one, {last_observed_at.isoformat()}"
        raise _refused(participant, defects, why, policy)
    if response.policy.name != policy:
        defects.append(Defect("wrong_policy", policy, _quoted(response.policy.name)))
        raise _refused(participant, defects, f"it is about {_quoted(response.policy.name)}", policy)
    if (defect := _defect_of(policy, response.policy)) is not None:
        defects.append(defect)
        raise _refused(participant, defects, f"its figures cannot be ({defect.reason})", policy)
    snapshot = Snapshot(
        participant=participant,
        observed_at=observed_at,
        category=_category(response.category, defects),
        correlation_id=_correlation_id(response.correlation_id, defects),
        buckets=(_bucket(policy, response.policy, defects),),
        is_whole=False,
    )
    return Answer(snapshot, tuple(defects), clock_skew_seconds, is_news=observed_at != last_observed_at)


def _refused(participant: Ispb, defects: list[Defect], why: str, policy: PolicyName | None = None) -> BadAnswer:
    about = participant if policy is None else f"{policy} of {participant}"
    return BadAnswer(f"the Bridge's answer for {about} was refused: {why}", defects=tuple(defects))


def _stated_time(response: Response) -> datetime | None:
    """Returns the answer's own time, whatever the skew; None: none, or one that no calendar has."""
    try:
        return response.response_time.ToDatetime(UTC) if response.HasField("response_time") else None
    except (ValueError, OverflowError):
        return None


def _observed_at(
    response: Response, received_at: datetime, max_clock_skew_seconds: float, defects: list[Defect]
) -> tuple[datetime, float | None]:
    stated = _stated_time(response)
    if stated is None:
        value = _quoted(response.response_time.seconds) if response.HasField("response_time") else ""
        defects.append(Defect("no_response_time", None, value))
        return received_at, None
    skew_seconds = (stated - received_at).total_seconds()
    if abs(skew_seconds) > max_clock_skew_seconds:
        defects.append(Defect("clock_skew", None, stated.isoformat()))
        return received_at, skew_seconds
    return stated, skew_seconds


def _category(category: str, defects: list[Defect]) -> str | None:
    if category in CATEGORIES:
        return category
    defects.append(Defect("unknown_category", None, _quoted(category)))
    return None


def _correlation_id(correlation_id: str, defects: list[Defect]) -> str:
    if _is_text(correlation_id):
        return correlation_id
    defects.append(Defect("bad_correlation_id", None, _quoted(correlation_id)))
    return ""


def _buckets(
    response: GetRateLimitPoliciesResponse,
    defects: list[Defect],
    known_policies: Collection[PolicyName],
    max_policies: int,
) -> tuple[tuple[Bucket, ...], tuple[PolicyName, ...]]:
    """Returns the usable buckets and the names of the refused ones, both sorted."""
    policies = _within_limit(response.policies, known_policies, max_policies)
    if len(policies) < len(response.policies):
        defects.append(Defect("too_many_policies", None, str(len(response.policies))))
    buckets: dict[str, Bucket] = {}
    refused: set[str] = set()
    nameless = False
    for policy in policies:
        name = policy.name
        if not name or not _is_text(name):
            nameless = True
            defects.append(Defect("bad_name" if name else "empty_name", None, _quoted(name)))
        elif name in buckets or name in refused:
            defects.append(Defect("duplicate_policy", name, _quoted(policy.available_tokens)))
            buckets.pop(name, None)
            refused.add(name)
        elif (defect := _defect_of(name, policy)) is not None:
            defects.append(defect)
            refused.add(name)
        else:
            buckets[name] = _bucket(name, policy, defects)
    if nameless:
        refused |= set(known_policies) - buckets.keys()
    return tuple(buckets[name] for name in sorted(buckets)), tuple(PolicyName(name) for name in sorted(refused))


def _within_limit(
    policies: Sequence[RateLimitPolicy], known_policies: Collection[PolicyName], max_policies: int
) -> Sequence[RateLimitPolicy]:
    if len(policies) + len(known_policies) <= max_policies:
        return policies
    known = [policy for policy in policies if policy.name in known_policies]
    new = [policy for policy in policies if policy.name not in known_policies]
    absent = len(set(known_policies) - {policy.name for policy in known})
    return known[:max_policies] + new[: max(0, max_policies - len(known) - absent)]


def _defect_of(name: str, policy: RateLimitPolicy) -> Defect | None:
    if policy.capacity < 1:
        return Defect("bad_capacity", name, str(policy.capacity))
    if policy.refill_tokens < 1:
        return Defect("bad_refill", name, str(policy.refill_tokens))
    if policy.refill_period_sec < 1:
        return Defect("bad_refill_period", name, str(policy.refill_period_sec))
    return None


def _bucket(name: str, policy: RateLimitPolicy, defects: list[Defect]) -> Bucket:
    return Bucket(
        policy=PolicyName(name),
        available_tokens=policy.available_tokens,
        capacity=policy.capacity,
        refill_tokens=policy.refill_tokens,
        refill_period_seconds=policy.refill_period_sec,
        response_counts=_counts(name, policy, defects) if policy.HasField("response_counts") else None,
    )


def _counts(name: str, policy: RateLimitPolicy, defects: list[Defect]) -> ResponseCounts | None:
    counts = policy.response_counts
    total, not_found, rate_limited = counts.total, counts.not_found, counts.rate_limited
    if not_found + rate_limited <= total <= _MAX_COUNT and _is_text(counts.instance):
        return ResponseCounts(total, not_found, rate_limited, counts.instance)
    value = f"{not_found} 404s and {rate_limited} 429s of {total}, instance {_quoted(counts.instance)}"
    defects.append(Defect("bad_response_counts", name, value))
    return None


def _is_text(value: str) -> bool:
    return len(value) <= MAX_TEXT and value.isprintable()


def _quoted(value: object) -> str:
    """Returns a value for a log line, shortened where it is long."""
    text = ascii(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."

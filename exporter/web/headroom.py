"""The answer of ``/api/v1/headroom``, as docs/http-api.md describes it: what a caller may take from buckets now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from exporter.buckets.bucket import Ispb, PolicyName
from exporter.buckets.headroom import Headroom, headroom
from exporter.buckets.observation import View, VisibleBucket
from exporter.durations import spaced
from exporter.errors import sentence
from exporter.structures import did_you_mean
from exporter.web.api import go_time, success_json

_MOST_DIGITS: Final = 18
"""Of a number of tokens: what 64 bits hold."""

_LIST: Final = "; those that there are: /api/v1/buckets"
_NO_VIEWS: Final = ": this process knows of none; where it is on standby, ask the leader"


class HeadroomRefusal(Exception):
    """A request that is not answered: with the HTTP ``status``, Prometheus' ``kind`` of error, and a sentence."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(sentence(message))
        self.status = status
        self.kind = kind


@dataclass(frozen=True, slots=True)
class HeadroomQuery:
    """A participant, some of its policies (none: all), and the tokens that a caller waits for (None: none)."""

    participant: Ispb
    policies: Sequence[str] = ()
    tokens: int | None = None

    @classmethod
    def parse(cls, participants: Sequence[str], policies: Sequence[str], tokens: Sequence[str]) -> HeadroomQuery:
        """Reads the values of the parameters. Raises HeadroomRefusal."""
        if len(participants) != 1 or not participants[0]:
            raise _bad("name one participant: /api/v1/headroom?participant=12345678")
        if not tokens:
            return cls(Ispb(participants[0]), policies)
        text = tokens[0]
        is_number = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
        if len(tokens) != 1 or not is_number or int(text) < 1:
            raise _bad(f"tokens={'&tokens='.join(tokens)}: write one whole number from 1, such as tokens=10")
        return cls(Ispb(participants[0]), policies, int(text))


def headroom_json(query: HeadroomQuery, views: Mapping[Ispb, View], now: datetime) -> bytes:
    """Returns the body of ``/api/v1/headroom`` at ``now`` (UTC). Raises HeadroomRefusal."""
    view = views.get(query.participant)
    if view is None:
        hint = did_you_mean(query.participant, views) or (_LIST if views else _NO_VIEWS)
        raise HeadroomRefusal(404, "not_found", f"there is no participant {query.participant}{hint}")
    buckets = _current(view, now)
    if not buckets:
        staleness = spaced(view.poll.staleness_seconds)
        message = f"no answer about {query.participant} is younger than {staleness}: its buckets are not known"
        raise HeadroomRefusal(503, "unavailable", message)
    for policy in query.policies:
        if policy not in buckets:
            hint = did_you_mean(policy, buckets) or f"{_LIST}?participant={query.participant}"
            raise HeadroomRefusal(404, "not_found", f"{query.participant} has no bucket {policy}{hint}")
    return success_json(
        {
            "participant": view.participant,
            "up": view.up,
            "last_success_at": view.poll.last_success_at and go_time(view.poll.last_success_at),
            "poll_interval_seconds": view.poll.interval_seconds,
            "buckets": [
                _bucket(headroom(visible, view.refill_mode, now), query.tokens)
                for policy, visible in buckets.items()
                if not query.policies or policy in query.policies
            ],
        }
    )


def _bad(message: str) -> HeadroomRefusal:
    return HeadroomRefusal(400, "bad_data", message)


def _current(view: View, now: datetime) -> dict[PolicyName, VisibleBucket]:
    """Returns the buckets that were confirmed within the staleness: a process that has stopped polling knows none."""
    return {
        policy: visible
        for policy, visible in view.buckets.items()
        if (now - visible.confirmed_at).total_seconds() < view.poll.staleness_seconds
    }


def _bucket(offered: Headroom, tokens: int | None) -> dict[str, Any]:
    body = {
        "policy": offered.bucket.policy,
        "quota": offered.quota,
        "window_seconds": offered.window_seconds,
        "remaining": offered.remaining,
        "reserve": offered.reserve,
        "reset_seconds": offered.reset_seconds,
        "sustainable_rate_per_minute": offered.sustainable_rate_per_minute,
        "consumption_rate_per_minute": offered.consumption_rate_per_minute,
        "refill_mode": offered.refill_mode,
        "age_seconds": offered.age_seconds,
    }
    if tokens is not None:
        body["retry_after_seconds"] = offered.retry_after_seconds(tokens)
    return body

"""Bad answers: each kind changes a good answer into one with exactly that fault.

Kinds are named as the exporter counts them (``exporter.bridge.answer``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesResponse as Response


def corrupt(kind: str, response: Response) -> bytes:
    """Returns the bytes of a bad answer of this kind. ``response`` may be changed."""
    return KINDS[kind](response) or response.SerializeToString()


def _too_many_policies(response: Response) -> None:
    for index in range(5_000):
        policy = response.policies.add()
        policy.CopyFrom(response.policies[0])
        policy.name = f"ZZ_{index:04d}"


def _duplicate_policy(response: Response) -> None:
    response.policies.add().CopyFrom(response.policies[0])


def _bad_response_counts(response: Response) -> None:
    counts = response.policies[0].response_counts
    counts.total, counts.not_found, counts.instance = 1, 2, "simulator"


def _time(seconds: int) -> Callable[[Response], None]:
    def add(response: Response) -> None:
        response.response_time.seconds += seconds

    return add


def _answer(**fields: str) -> Callable[[Response], None]:
    def replace(response: Response) -> None:
        for name, value in fields.items():
            setattr(response, name, value)

    return replace


def _policy(**fields: str | int) -> Callable[[Response], None]:
    def replace(response: Response) -> None:
        for name, value in fields.items():
            setattr(response.policies[0], name, value)

    return replace


KINDS: Final[dict[str, Callable[[Response], bytes | None]]] = {
    "undecodable": lambda _: b"\xff\xff this is no protobuf message",
    "too_long": _answer(correlation_id="x" * 5_000_000),
    "no_policies": lambda response: response.ClearField("policies"),
    "time_going_back": _time(-120),
    "no_response_time": lambda response: response.ClearField("response_time"),
    "clock_skew": _time(3 * 3600),
    "unknown_category": _answer(category="Z"),
    "bad_correlation_id": _answer(correlation_id="line\nbreak"),
    "too_many_policies": _too_many_policies,
    "empty_name": _policy(name=""),
    "bad_name": _policy(name="ENTRIES\0WRITE"),
    "duplicate_policy": _duplicate_policy,
    "bad_capacity": _policy(capacity=0),
    "bad_refill": _policy(refill_tokens=0),
    "bad_refill_period": _policy(refill_period_sec=0),
    "bad_response_counts": _bad_response_counts,
}

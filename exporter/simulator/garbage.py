"""Bad answers: each kind changes a good answer into one with exactly that fault.

Kinds are named as the exporter counts them (``exporter.bridge.answer``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesResponse as Response


def corrupt(kind: str, response: Response) -> bytes:
    """Returns the bytes of a bad answer of this kind. ``response`` may be changed."""
    return KINDS[kind](response) or response.SerializeToString()


def _too_many_policies(response: Response) -> None:
    for index in range(5_000):
        policy = response.policies.add()
        policy.CopyFrom(response.policies[0])
        policy.name = f"ZZ_{index:04d}"


def _set(message: Any, **fields: str | int) -> None:
    for name, value in fields.items():
        setattr(message, name, value)


KINDS: Final[dict[str, Callable[[Response], bytes | None]]] = {
    "undecodable": lambda _: b"\xff\xff this is no protobuf message",
    "too_long": lambda response: _set(response, correlation_id="x" * 5_000_000),
    "no_policies": lambda response: response.ClearField("policies"),
    "time_going_back": lambda response: _set(response.response_time, seconds=response.response_time.seconds - 120),
    "no_response_time": lambda response: response.ClearField("response_time"),
    "clock_skew": lambda response: _set(response.response_time, seconds=response.response_time.seconds + 3 * 3600),
    "unknown_category": lambda response: _set(response, category="Z"),
    "bad_correlation_id": lambda response: _set(response, correlation_id="line\nbreak"),
    "too_many_policies": _too_many_policies,
    "empty_name": lambda response: _set(response.policies[0], name=""),
    "bad_name": lambda response: _set(response.policies[0], name="ENTRIES\0WRITE"),
    "duplicate_policy": lambda response: response.policies.add().CopyFrom(response.policies[0]),
    "bad_capacity": lambda response: _set(response.policies[0], capacity=0),
    "bad_refill": lambda response: _set(response.policies[0], refill_tokens=0),
    "bad_refill_period": lambda response: _set(response.policies[0], refill_period_sec=0),
    "bad_response_counts": lambda response: _set(
        response.policies[0].response_counts, total=1, not_found=2, instance="simulator"
    ),
}

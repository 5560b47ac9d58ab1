"""Bad answers: each kind makes of a good answer one that has exactly that fault.

Kinds are named as the exporter counts them (``exporter.bridge.answer``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesResponse as Response


def spoil(kind: str, response: Response) -> bytes:
    """Returns the bytes of a bad answer of this kind. ``response`` may be changed."""
    return KINDS[kind](response) or response.SerializeToString()


def _undecodable(_response: Response) -> bytes:
    return b"\xff\xff this is no protobuf message"


def _too_long(response: Response) -> None:
    response.correlation_id = "x" * 5_000_000


def _no_policies(response: Response) -> None:
    del response.policies[:]


def _time_going_back(response: Response) -> None:
    response.response_time.seconds -= 120


def _no_response_time(response: Response) -> None:
    response.ClearField("response_time")


def _clock_skew(response: Response) -> None:
    response.response_time.seconds += 3 * 3600


def _unknown_category(response: Response) -> None:
    response.category = "Z"


def _bad_correlation_id(response: Response) -> None:
    response.correlation_id = "line\nbreak"


def _too_many_policies(response: Response) -> None:
    first = response.policies[0]
    for number in range(5_000):
        response.policies.add(
            name=f"ZZ_{number:04d}",
            available_tokens=first.available_tokens,
            capacity=first.capacity,
            refill_tokens=first.refill_tokens,
            refill_period_sec=first.refill_period_sec,
        )


def _empty_name(response: Response) -> None:
    response.policies[0].name = ""


def _bad_name(response: Response) -> None:
    response.policies[0].name = "ENTRIES\0WRITE"


def _duplicate_policy(response: Response) -> None:
    again = response.policies.add()
    again.CopyFrom(response.policies[0])


def _bad_capacity(response: Response) -> None:
    response.policies[0].capacity = 0


def _bad_refill(response: Response) -> None:
    response.policies[0].refill_tokens = 0


def _bad_refill_period(response: Response) -> None:
    response.policies[0].refill_period_sec = 0


def _bad_response_counts(response: Response) -> None:
    counts = response.policies[0].response_counts
    counts.total, counts.not_found, counts.instance = 1, 2, "simulator"


KINDS: Final[dict[str, Callable[[Response], bytes | None]]] = {
    "undecodable": _undecodable,
    "too_long": _too_long,
    "no_policies": _no_policies,
    "time_going_back": _time_going_back,
    "no_response_time": _no_response_time,
    "clock_skew": _clock_skew,
    "unknown_category": _unknown_category,
    "bad_correlation_id": _bad_correlation_id,
    "too_many_policies": _too_many_policies,
    "empty_name": _empty_name,
    "bad_name": _bad_name,
    "duplicate_policy": _duplicate_policy,
    "bad_capacity": _bad_capacity,
    "bad_refill": _bad_refill,
    "bad_refill_period": _bad_refill_period,
    "bad_response_counts": _bad_response_counts,
}

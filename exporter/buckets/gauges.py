"""The gauges, declared once: `/metrics` renders them and rules select them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from exporter.buckets.observation import BucketObservation, View


@dataclass(frozen=True, slots=True)
class BucketGauge:
    """A gauge with labels ``participant`` and ``policy``; None from ``value``: absent.

    ``minimum`` and ``maximum`` are the range that values can take.
    """

    name: str
    help: str
    value: Callable[[BucketObservation], float | None]
    minimum: float = 0.0
    maximum: float = float("inf")


@dataclass(frozen=True, slots=True)
class ParticipantGauge:
    """A gauge with label ``participant``, and those of ``label_names``, whose values ``labels`` gives.

    One ``of_an_event`` is absent until that happens, which may be never.
    """

    name: str
    help: str
    value: Callable[[View], float | None]
    minimum: float = float("-inf")
    maximum: float = float("inf")
    label_names: tuple[str, ...] = ()
    labels: Callable[[View], tuple[str, ...]] = lambda _: ()
    of_an_event: bool = False


BUCKET_GAUGES: Final = (
    BucketGauge(
        "dict_rate_limit_available_tokens",
        "Tokens in the bucket, as DICT answered; below 0: in debt.",
        lambda o: o.bucket.available_tokens,
        minimum=float("-inf"),
    ),
    BucketGauge("dict_rate_limit_capacity", "Capacity of the bucket, in tokens.", lambda o: o.bucket.capacity),
    BucketGauge(
        "dict_rate_limit_utilization_percent",
        "Share of the bucket's capacity that is used up, 0 to 100.",
        lambda o: o.bucket.utilization_percent,
        maximum=100.0,
    ),
    BucketGauge(
        "dict_rate_limit_consumption_rate_per_minute",
        "Tokens consumed per minute, refill added back, net of tokens given back.",
        lambda o: o.consumption_rate_per_minute,
    ),
    BucketGauge(
        "dict_rate_limit_recovery_eta_seconds",
        "Seconds to a full bucket if nothing is consumed.",
        lambda o: o.bucket.recovery_eta_seconds,
    ),
    BucketGauge(
        "dict_rate_limit_exhaustion_projection_seconds",
        "Seconds to an empty bucket at the recent net drain; +Inf when it is not draining.",
        lambda o: o.exhaustion_projection_seconds,
    ),
    BucketGauge(
        "dict_rate_limit_error_404_rate",
        "Share of answers that were 404, 0 to 1.",
        lambda o: o.error_404_rate,
        maximum=1.0,
    ),
    BucketGauge(
        "dict_rate_limit_error_429_rate",
        "Share of answers that were 429, 0 to 1.",
        lambda o: o.error_429_rate,
        maximum=1.0,
    ),
    BucketGauge(
        "dict_rate_limit_lowest_available_tokens",
        "The fewest tokens that an answer showed within poll.lowest_window; 0 also where a 429 was counted.",
        lambda o: o.lowest_tokens,
        minimum=float("-inf"),
    ),
)

PARTICIPANT_INFO: Final = "dict_rate_limit_participant_info"
"""Labels ``participant`` and ``psp_category``, value 1; absent where no category is known."""

PARTICIPANT_GAUGES: Final = (
    ParticipantGauge(
        "dict_rate_limit_up",
        "Whether the last poll was answered.",
        lambda v: 1.0 if v.up else 0.0,
        minimum=0.0,
        maximum=1.0,
    ),
    ParticipantGauge(
        "dict_rate_limit_last_success_timestamp_seconds",
        "When a poll was last answered, in seconds since 1970.",
        lambda v: v.poll.last_success_at.timestamp() if v.poll.last_success_at else None,
    ),
    ParticipantGauge(
        "dict_rate_limit_poll_interval_seconds",
        "Seconds between polls, as stretched by the budget of POLICIES_LIST.",
        lambda v: v.poll.interval_seconds,
    ),
    ParticipantGauge(
        "dict_rate_limit_refused_policies",
        "Policies whose figures in the last answer cannot be, and were refused.",
        lambda v: float(len(v.refused)),
        minimum=0.0,
    ),
    ParticipantGauge(
        "dict_rate_limit_clock_skew_seconds", "DICT's clock less ours, in seconds.", lambda v: v.poll.clock_skew_seconds
    ),
    ParticipantGauge(
        PARTICIPANT_INFO,
        "The participant's category in DICT.",
        lambda v: None if v.category is None else 1.0,
        minimum=0.0,
        maximum=1.0,
        label_names=("psp_category",),
        labels=lambda v: (v.category or "",),
    ),
    ParticipantGauge(
        "dict_rate_limit_category_changed_timestamp_seconds",
        "When the participant's category was last seen to change, from which and to which, in seconds since 1970.",
        lambda v: v.poll.category.changed_at.timestamp() if v.poll.category and v.poll.category.changed_at else None,
        label_names=("psp_category", "previous_psp_category"),
        labels=lambda v: (v.poll.category.name, v.poll.category.previous or "") if v.poll.category else ("", ""),
        of_an_event=True,
    ),
)

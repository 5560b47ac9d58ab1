"""The metrics of buckets and participants, declared once: `/metrics` renders them and rules select them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias

from exporter.buckets.bucket import OUTCOMES
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
class BucketCounter:
    """A counter with labels ``participant``, ``policy`` and ``label``, whose ``label_values`` come with the counts."""

    name: str
    help: str
    label: str
    label_values: tuple[str, ...]
    counts: Callable[[BucketObservation], Iterable[tuple[str, int]]]
    minimum: ClassVar[float] = 0.0
    maximum: ClassVar[float] = float("inf")


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

BUCKET_COUNTERS: Final = (
    BucketCounter(
        "dict_rate_limit_responses_total",
        "Answers that the Bridge has counted since it started, by outcome: ok, not_found (404) or rate_limited (429).",
        "outcome",
        OUTCOMES,
        lambda o: () if o.bucket.response_counts is None else o.bucket.response_counts.by_outcome(),
    ),
)
"""The Bridge's own counts: where it starts again they are reset."""

BUCKET_METRICS: Final = (*BUCKET_GAUGES, *BUCKET_COUNTERS)

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

BUCKET_METRIC_BY_NAME: Final = {metric.name: metric for metric in BUCKET_METRICS}
PARTICIPANT_GAUGE_BY_NAME: Final = {gauge.name: gauge for gauge in PARTICIPANT_GAUGES}
METRIC_NAMES: Final = frozenset(BUCKET_METRIC_BY_NAME) | frozenset(PARTICIPANT_GAUGE_BY_NAME)
"""Of what polls show."""

Subject: TypeAlias = "tuple[str, ...]"
"""The values of a series' labels but ``participant``: policy and others, or those of a gauge of the participant."""


def shown(name: str, view: View) -> Iterator[tuple[Subject, float]]:
    """Yields the series of a metric that a view shows."""
    of_buckets = BUCKET_METRIC_BY_NAME.get(name)
    if isinstance(of_buckets, BucketCounter):
        for policy, visible in view.buckets.items():
            for label, count in of_buckets.counts(visible.observation):
                yield (policy, label), float(count)
        return
    if of_buckets is not None:
        for policy, visible in view.buckets.items():
            value = of_buckets.value(visible.observation)
            if value is not None:
                yield (policy,), float(value)
        return
    gauge = PARTICIPANT_GAUGE_BY_NAME[name]
    value = gauge.value(view)
    if value is not None:
        yield gauge.labels(view), float(value)

"""The families that have a participant's label, declared once: ready lines and collector both read this."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from prometheus_client.utils import floatToGoString

from exporter.alerts.alert import AlertState, Severity
from exporter.buckets.bucket import Ispb
from exporter.buckets.gauges import (
    BUCKET_COUNTERS,
    BUCKET_GAUGES,
    PARTICIPANT_GAUGES,
    BucketCounter,
    BucketGauge,
    ParticipantGauge,
)
from exporter.buckets.observation import BucketObservation, View

_go_float: Callable[[float], str] = floatToGoString


class Labels:
    """Label values in the order of the family's label names, and as they are written in a line."""

    __slots__ = ("text", "values")

    def __init__(self, /, **labels: str) -> None:
        self.values = tuple(labels.values())
        self.text = "{" + ",".join([f'{name}="{_escaped(value)}"' for name, value in labels.items()]) + "}"

    def and_one(self, name: str, value: str) -> Labels:
        """Returns these with one more, whose value needs no escaping."""
        longer = Labels.__new__(Labels)
        longer.values = (*self.values, value)
        longer.text = f'{self.text[:-1]},{name}="{value}"}}'
        return longer


@dataclass(slots=True)
class WatchedParticipant:
    """What is known of one participant.

    ``view`` is None where it isn't polled here. ``policies`` are those that were
    seen of late, with when (monotonic seconds), ``series`` the (severity, per policy) label sets that rules can
    produce, ``counts`` how often alerts came to a state.
    """

    participant: Ispb
    view: View | None = None
    policies: dict[str, float] = field(default_factory=dict)
    series: Collection[tuple[Severity, bool]] = ()
    counts: dict[tuple[AlertState, str, Severity], int] = field(default_factory=dict)
    labels: Labels = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.labels = Labels(participant=self.participant)

    def remove_policies(self, before: float) -> bool:
        """Drops policies that were last seen before that time, and their counts; returns whether any were dropped."""
        removed = {policy for policy, seen_at in self.policies.items() if seen_at < before}
        if removed:
            self.policies = {policy: seen_at for policy, seen_at in self.policies.items() if policy not in removed}
            self.counts = {key: count for key, count in self.counts.items() if key[1] not in removed}
        return bool(removed)

    def buckets(self, policy: str | None = None) -> list[tuple[Labels, BucketObservation]]:
        """Returns the buckets that are served, or that of one policy, with their labels."""
        if self.view is None:
            return []
        return [
            (Labels(participant=self.participant, policy=each), visible.observation)
            for each, visible in self.view.buckets.items()
            if policy is None or each == policy
        ]

    def counters(self, state: AlertState) -> Iterator[tuple[Labels, float]]:
        """Yields the counter of ``state`` for every label set that is possible, or that happened."""
        label_sets: dict[tuple[str, Severity], None] = {}
        for severity, per_policy in self.series:
            label_sets |= dict.fromkeys((policy, severity) for policy in (self.policies if per_policy else ("",)))
        label_sets |= dict.fromkeys((policy, severity) for counted, policy, severity in self.counts if counted is state)
        for policy, severity in sorted(label_sets):
            labels = Labels(participant=self.participant, policy=policy, severity=severity)
            yield labels, self.counts.get((state, policy, severity), 0)


Buckets = list[tuple[Labels, BucketObservation]]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family. ``name`` is that of its samples; ``samples`` gives them for one participant.

    ``of_buckets``: what it shows of a bucket depends on no other. ``outlives_polling``: shown also when a
    participant's polls stopped coming.
    """

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    label_names: tuple[str, ...]
    samples: Callable[[WatchedParticipant, Buckets], Iterable[tuple[Labels, float]]]
    of_buckets: bool = False
    outlives_polling: bool = False


def _bucket_family(gauge: BucketGauge) -> Family:
    value = gauge.value

    def samples(_watched: WatchedParticipant, buckets: Buckets) -> list[tuple[Labels, float]]:
        return [(labels, number) for labels, bucket in buckets if (number := value(bucket)) is not None]

    return Family(gauge.name, "gauge", gauge.help, ("participant", "policy"), samples, of_buckets=True)


def _bucket_counter_family(counter: BucketCounter) -> Family:
    label_names = ("participant", "policy", counter.label)

    def samples(_watched: WatchedParticipant, buckets: Buckets) -> Iterator[tuple[Labels, float]]:
        for labels, bucket in buckets:
            for value, count in counter.counts(bucket):
                yield labels.and_one(counter.label, value), count

    return Family(counter.name, "counter", counter.help, label_names, samples, of_buckets=True)


def _participant_family(gauge: ParticipantGauge) -> Family:
    def samples(watched: WatchedParticipant, _buckets: Buckets) -> Iterator[tuple[Labels, float]]:
        view = watched.view
        if view is None or (number := gauge.value(view)) is None:
            return
        if gauge.label_names:
            own = dict(zip(gauge.label_names, gauge.labels(view), strict=True))
            yield Labels(participant=watched.participant, **own), number
        else:
            yield watched.labels, number

    labels, outlives_polling = ("participant", *gauge.label_names), gauge.name.endswith("_timestamp_seconds")
    return Family(gauge.name, "gauge", gauge.help, labels, samples, outlives_polling=outlives_polling)


def _counter_family(name: str, help_: str, state: AlertState) -> Family:
    labels = ("participant", "policy", "severity")
    return Family(name, "counter", help_, labels, lambda watched, _: watched.counters(state), outlives_polling=True)


POLLED_FAMILIES: Final = (
    *(_bucket_family(gauge) for gauge in BUCKET_GAUGES),
    *(_bucket_counter_family(counter) for counter in BUCKET_COUNTERS),
    *(_participant_family(gauge) for gauge in PARTICIPANT_GAUGES),
)
"""What polls show."""

COUNTER_FAMILIES: Final = (
    _counter_family("dict_rate_limit_alerts_created_total", "Alerts that began firing.", AlertState.FIRING),
    _counter_family("dict_rate_limit_alerts_resolved_total", "Alerts that resolved.", AlertState.RESOLVED),
)


def number_text(value: float) -> str:
    """Returns a figure as prometheus_client writes it, most of them without its help."""
    if -1_000_000 < value < 1_000_000:
        if type(value) is int:
            return f"{value}.0"
        if type(value) is float:
            return repr(value)
    return _go_float(value)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

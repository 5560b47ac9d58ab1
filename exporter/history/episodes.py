"""Episodes: an episode is one alert from when it began to fire until it resolved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from exporter.alerts.alert import Alert, AlertState, Fingerprint, Reason, Severity, Transition
from exporter.buckets.bucket import Ispb, PolicyName


@dataclass(frozen=True, slots=True)
class Episode:
    """One alert that fired. ``resolved_at`` is None where it still does."""

    fingerprint: Fingerprint
    name: str
    severity: Severity
    participant: Ispb
    policy: PolicyName | None
    labels: Mapping[str, str]
    began_at: datetime
    resolved_at: datetime | None = None
    reason: Reason | None = None

    def seconds(self, until: datetime) -> float:
        """Returns how long it fired, up to ``until`` where it still does."""
        return ((self.resolved_at or until) - self.began_at).total_seconds()

    @classmethod
    def from_alert(cls, alert: Alert) -> Episode | None:
        """Returns the episode of a stored alert; None if it has never fired."""
        if alert.firing_since is None:
            return None
        return cls(
            alert.fingerprint,
            alert.name,
            alert.severity,
            alert.participant,
            alert.policy,
            alert.labels,
            alert.firing_since,
            alert.resolved_at,
            alert.reason,
        )


@dataclass(slots=True)
class Episodes:
    """Collects episodes from transitions, in order of time; drops those that ended before ``since``."""

    since: datetime
    _ended: list[Episode] = field(default_factory=list)
    _firing: dict[Fingerprint, Episode] = field(default_factory=dict)

    def resume(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            episode = Episode.from_alert(alert)
            if episode is not None:
                self._firing[alert.fingerprint] = episode

    def add(self, transitions: Iterable[Transition]) -> None:
        for transition in transitions:
            alert = transition.alert
            if alert.state is AlertState.FIRING:
                self.resume([alert])
                continue
            episode = self._firing.pop(alert.fingerprint, None)
            if episode is not None and transition.at >= self.since:
                self._ended.append(replace(episode, resolved_at=transition.at, reason=alert.reason))

    def all(self) -> tuple[Episode, ...]:
        """Returns the episodes in order of their beginning."""
        return ordered([*self._ended, *self._firing.values()])


def ordered(episodes: Iterable[Episode]) -> tuple[Episode, ...]:
    return tuple(sorted(episodes, key=lambda e: (e.began_at, e.participant, e.policy or "", e.name)))


def firing_at(alerts: Iterable[Alert], at: datetime) -> Iterator[Alert]:
    """Yields the alerts that were firing at a time, in their state of then as far as the database knows it."""
    for alert in alerts:
        ended = alert.resolved_at is not None and alert.resolved_at < at
        if alert.firing_since is not None and alert.firing_since < at and not ended:
            yield replace(alert, state=AlertState.FIRING, keep_firing_since=None, resolved_at=None, reason=None)


def episodes_within(alerts: Iterable[Alert], since: datetime, until: datetime) -> tuple[Episode, ...]:
    """Returns the episodes of a period, from alerts as the database has them now; what ended later is open."""
    episodes = [episode for alert in alerts if (episode := Episode.from_alert(alert)) is not None]
    return ordered(
        e if e.resolved_at is None or e.resolved_at < until else replace(e, resolved_at=None, reason=None)
        for e in episodes
        if e.began_at < until and (e.resolved_at is None or e.resolved_at >= since)
    )

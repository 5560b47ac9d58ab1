"""An incident of the past as a rule unit test in promtool's format.

The participant's gauges are sampled at the evaluation interval; what is expected is
what this program's engine makes of these samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import yaml

from exporter.alerts.alert import AlertState
from exporter.buckets.observation import MISSED_INTERVALS, view_after
from exporter.capture.sampling import Sampled
from exporter.capture.time_of_day import time_of_day
from exporter.durations import Duration
from exporter.errors import DictRateLimitError
from exporter.history.episodes import firing_at
from exporter.history.rule_dependencies import needed_by
from exporter.rules.promql.sources import ALERT_SERIES, ViewSource
from exporter.rules.promql.traversal import selectors
from exporter.rules.promql.unsupported import nearest
from exporter.rules.promtool.input_series import LOOKBACK_MS, input_series
from exporter.rules.promtool.playback import play

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exporter.alerts.alert import Alert
    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import Poll, View
    from exporter.history.replay import Period
    from exporter.rules.promql.series import Sample
    from exporter.rules.promtool.playback import Playback
    from exporter.rules.rule import CompiledRule
    from exporter.store.reader import Reader

_BEFORE: Final = timedelta(hours=1)
"""Where to begin to read: what is shown at the first instant may have been confirmed earlier."""

_MOST: Final = 100_000
"""More evaluations than an incident has, and than promtool likes to play."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to capture. ``policies`` and ``alerts`` empty: all; ``interval_seconds`` None: that of the polls."""

    participant: Ispb
    period: Period
    policies: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    interval_seconds: float | None = None


def chosen(rules: Sequence[CompiledRule], alerts: Sequence[str]) -> list[str]:
    """Returns the names of the alerts to expect.

    Raises DictRateLimitError where one is unknown, or cannot be played at another time than its own.
    """
    known = list(dict.fromkeys(rule.name for rule in rules))
    for name in alerts:
        if name not in known:
            raise DictRateLimitError(f"no rule is named {name}{nearest(name, known)}")
    names = [name for name in known if not alerts or name in alerts]
    for rule in needed_by([rule for rule in rules if rule.name in names], rules):
        asks = time_of_day(rule)
        if asks is not None:
            raise DictRateLimitError(
                f"{rule.file}:{rule.line}: {rule.name} asks for the time of day (`{asks}`), and promtool's clock "
                "starts at 1970-01-01: it cannot be captured. Name the alerts to expect with --alert"
            )
    return names


async def capture(reader: Reader, rules: Sequence[CompiledRule], rule_files: Sequence[str], wanted: Wanted) -> str:
    """Returns the test file; ``rule_files`` as they are to stand in it.

    Raises DictRateLimitError, also where nothing was polled or a rule fails; DatabaseUnavailable.
    """
    names = chosen(rules, wanted.alerts)
    gauges = sorted({s.metric for rule in rules for s in selectors(rule.expression.tree)} - ALERT_SERIES)
    period = wanted.period
    clock: _Clock | None = None
    sampled = Sampled(period.since)
    view: View | None = None
    async for poll in reader.polls(wanted.participant, period.since - _BEFORE, period.until, evaluated_only=True):
        if clock is None and poll.polled_at >= period.since:
            clock = _Clock(period, _interval_ms(wanted, poll))
        if clock is not None:
            for at_ms in clock.before(poll):
                sampled.take(_seen(view, period, at_ms, gauges, wanted.policies))
        view = view_after(view, poll)
    if clock is None or view is None:
        raise DictRateLimitError(
            f"the database holds no poll of {wanted.participant} from {period.since:%Y-%m-%d %H:%M:%S} "
            f"to {period.until:%Y-%m-%d %H:%M:%S} UTC"
        )
    for at_ms in clock.left():
        sampled.take(_seen(view, period, at_ms, gauges, wanted.policies))
    return _written(rules, rule_files, names=names, sampled=sampled, wanted=wanted, interval_ms=clock.interval_ms)


async def fired_before(reader: Reader, wanted: Wanted) -> list[Alert]:
    """Returns what fired when the period began, by name: in the test it begins anew. Raises DatabaseUnavailable."""
    since = wanted.period.since
    known = await reader.alerts(include_resolved=True, participant=wanted.participant, since=since)
    concerned = (
        alert
        for alert in firing_at(known, since)
        if (not wanted.alerts or alert.name in wanted.alerts)
        and (not wanted.policies or alert.policy is None or alert.policy in wanted.policies)
    )
    return sorted(concerned, key=lambda alert: (alert.name, alert.policy or ""))


@dataclass(slots=True)
class _Clock:
    """The instants to sample, in milliseconds since the period began."""

    period: Period
    interval_ms: int
    next_ms: int = 0

    def before(self, poll: Poll) -> Iterator[int]:
        """Yields the instants at which the poll was still to come."""
        return self._until(poll.polled_at - self.period.since)

    def left(self) -> Iterator[int]:
        return self._until(self.period.until - self.period.since)

    def _until(self, end: timedelta) -> Iterator[int]:
        while timedelta(milliseconds=self.next_ms) < end:
            yield self.next_ms
            self.next_ms += self.interval_ms


def _interval_ms(wanted: Wanted, poll: Poll) -> int:
    given = wanted.interval_seconds
    interval_ms = round(given * 1000) if given is not None else max(1, round(poll.interval_seconds)) * 1000
    if not 0 < interval_ms <= LOOKBACK_MS:
        raise DictRateLimitError("the evaluation interval must be above 0 and at most 5m: beyond, Prometheus forgets")
    if wanted.period.seconds * 1000 / interval_ms > _MOST:
        raise DictRateLimitError(
            f"{wanted.period.seconds * 1000 / interval_ms:,.0f} evaluations are too many for a test (at most "
            f"{_MOST:,}): shorten the time from --from to --to, or set --interval"
        )
    return interval_ms


def _seen(
    view: View | None, period: Period, at_ms: int, gauges: Sequence[str], policies: Sequence[str]
) -> Iterator[Sample]:
    """Yields what a scrape finds at an instant."""
    at = period.since + timedelta(milliseconds=at_ms)
    if view is None or (at - view.at).total_seconds() > MISSED_INTERVALS * view.poll.interval_seconds:
        return
    source = ViewSource(view)
    for gauge in gauges:
        for sample in source.series(gauge):
            if not policies or sample[1].get("policy") in {"", *policies}:
                yield sample


def _written(
    rules: Sequence[CompiledRule],
    rule_files: Sequence[str],
    *,
    names: Sequence[str],
    sampled: Sampled,
    wanted: Wanted,
    interval_ms: int,
) -> str:
    series = sampled.series()
    for policy in wanted.policies:
        if not any(f'policy="{policy}"' in name for name in series):
            raise DictRateLimitError(f"{wanted.participant} had no bucket {policy} in that time")
    ends_at_ms = (sampled.instants - 1) * interval_ms
    given = [input_series(name, values, interval_ms) for name, values in series.items()]
    playback = play(rules, given, until_ms=ends_at_ms, interval_ms=interval_ms)
    if playback.failed is not None:
        (failure, *_) = playback.failed.failures
        raise DictRateLimitError(
            f"{failure.name} fails {Duration(playback.failed.at_ms / 1000)} after the beginning, and promtool ends a "
            f"test there: {failure.message}"
        )
    pace = str(Duration(interval_ms / 1000))
    about = ", ".join((wanted.participant, *wanted.policies))
    document = {
        "rule_files": list(rule_files),
        "evaluation_interval": pace,
        "tests": [
            {
                "name": f"{about}, {wanted.period.since:%Y-%m-%d %H:%M:%S} UTC",
                "interval": pace,
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [test for name in names for test in _expected(playback, name)],
            }
        ],
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1_000_000)


def _expected(playback: Playback, name: str) -> Iterator[dict[str, Any]]:
    """Yields what to expect of an alert: at the beginning and the end, at each change, and just before it."""
    firing = [
        {
            fingerprint: alert
            for alerts in step.alerts.values()
            for fingerprint, alert in alerts.items()
            if alert.name == name and alert.state is AlertState.FIRING
        }
        for step in playback.steps
    ]
    last = len(firing) - 1
    changes = [place for place in range(1, last + 1) if firing[place].keys() != firing[place - 1].keys()]
    for place in sorted({0, last, *changes, *(place - 1 for place in changes)}):
        yield {
            "eval_time": str(Duration(playback.steps[place].at_ms / 1000)),
            "alertname": name,
            "exp_alerts": [
                {
                    "exp_labels": {label: text for label, text in alert.labels.items() if label != "alertname"},
                    "exp_annotations": dict(alert.annotations),
                }
                for alert in firing[place].values()
            ],
        }

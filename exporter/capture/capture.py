"""A past incident as a rule unit test in promtool's format.

The participant's gauges are sampled at the evaluation interval; expected are the alerts that this program's engine
raises from these samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import yaml

from exporter.alerts.alert import Alert, AlertState
from exporter.alerts.rule import alerting
from exporter.buckets.bucket import Ispb
from exporter.buckets.gauges import METRIC_NAMES
from exporter.buckets.observation import MISSED_INTERVALS, Poll, View, view_after
from exporter.clock import in_utc
from exporter.durations import Duration
from exporter.errors import DictRateLimitError
from exporter.history.episodes import firing_at
from exporter.history.replay import Period
from exporter.history.rule_dependencies import is_timestamp, time_of_day, with_dependencies
from exporter.numbers import not_finite
from exporter.rules.promql.series import Sample, format_series
from exporter.rules.promql.sources import LOOKBACK_MS, GaugeSource
from exporter.rules.promql.traversal import selectors
from exporter.rules.promtool.input_series import input_series
from exporter.rules.promtool.playback import Playback, play
from exporter.rules.rule import AnyCompiledRule
from exporter.rules.templates.values import NOTHING_EXTERNAL
from exporter.store.reader import AlertFilter, Reader
from exporter.structures import did_you_mean

_LOOKBACK: Final = timedelta(hours=1)
"""How long before the period reading begins: a value at its beginning may have been confirmed earlier."""

_BLANK: Final = "_"
_STALE: Final = "stale"
_MOST_EVALUATIONS: Final = 100_000
"""More than an incident has, and than promtool plays in reasonable time."""


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """What to capture. ``policies`` and ``alerts`` empty: all; ``interval_seconds`` None: that of the polls."""

    participant: Ispb
    period: Period
    policies: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    interval_seconds: float | None = None


async def capture_test(
    reader: Reader, rules: Sequence[AnyCompiledRule], rule_files: Sequence[str], request: CaptureRequest
) -> str:
    """Returns the test file; ``rule_files`` are written into it as they are.

    Raises DictRateLimitError, also where nothing was polled or a rule fails; DatabaseUnavailable.
    """
    names = _alert_names(rules, request.alerts)
    gauges = sorted({s.metric for rule in rules for s in selectors(rule.expression.tree)} & METRIC_NAMES)
    period = request.period
    samples = Samples(period.since)
    interval: timedelta | None = None
    at = period.since
    view: View | None = None
    async for poll in reader.polls(request.participant, period.since - _LOOKBACK, period.until, evaluated_only=True):
        if interval is None and poll.polled_at >= period.since:
            interval = _evaluation_interval(request, poll)
        while interval is not None and at < poll.polled_at:
            samples.add(_scrape(view, at, gauges, request.policies))
            at += interval
        view = view_after(view, poll)
    if interval is None:
        raise DictRateLimitError(f"the database holds no poll of {request.participant} from {period}")
    while at < period.until:
        samples.add(_scrape(view, at, gauges, request.policies))
        at += interval
    return _test_file(rules, rule_files, names, samples, request, interval_ms=interval // timedelta(milliseconds=1))


async def fired_before(reader: Reader, request: CaptureRequest) -> list[Alert]:
    """Returns the alerts that were firing when the period began, by name. Raises DatabaseUnavailable."""
    since = request.period.since
    stored = await reader.alerts(AlertFilter(include_resolved=True, participant=request.participant, since=since))
    selected = (
        alert
        for alert in firing_at(stored, since)
        if (not request.alerts or alert.name in request.alerts)
        and (not request.policies or alert.policy is None or alert.policy in request.policies)
    )
    return sorted(selected, key=lambda alert: (alert.name, alert.policy or ""))


def _alert_names(rules: Sequence[AnyCompiledRule], selected: Sequence[str]) -> list[str]:
    """Returns the names of the alerts to expect.

    Raises DictRateLimitError where one is unknown, or cannot be played at another time of day.
    """
    known = list(dict.fromkeys(rule.name for rule in alerting(rules)))
    for name in selected:
        if name not in known:
            raise DictRateLimitError(f"no alerting rule is named {name}{did_you_mean(name, known)}")
    names = [name for name in known if not selected or name in selected]
    for rule in with_dependencies([rule for rule in rules if rule.kind == "alerting" and rule.name in names], rules):
        if (expression := time_of_day(rule)) is not None:
            raise DictRateLimitError(
                f"{rule.file}:{rule.line}: {rule.name} asks for the time of day (`{expression}`), and promtool's clock "
                "starts at 1970-01-01: it cannot be captured. Name the alerts to expect with --alert"
            )
    return names


def _evaluation_interval(request: CaptureRequest, poll: Poll) -> timedelta:
    seconds = request.interval_seconds
    interval_ms = round(seconds * 1000) if seconds is not None else max(1, round(poll.interval_seconds)) * 1000
    if not 0 < interval_ms <= LOOKBACK_MS:
        raise DictRateLimitError(
            "the evaluation interval must be above 0 and at most 5m: with a longer one Prometheus has no samples"
        )
    evaluations = request.period.seconds * 1000 / interval_ms
    if evaluations > _MOST_EVALUATIONS:
        raise DictRateLimitError(
            f"{evaluations:,.0f} evaluations are too many for a test (at most {_MOST_EVALUATIONS:,}): shorten the time "
            "from --from to --to, or set --interval"
        )
    return timedelta(milliseconds=interval_ms)


def _scrape(view: View | None, at: datetime, gauges: Sequence[str], policies: Sequence[str]) -> Iterator[Sample]:
    """Yields the samples that a scrape would have found at a time."""
    if view is None or (at - view.at).total_seconds() > MISSED_INTERVALS * view.poll.interval_seconds:
        return
    source = GaugeSource(view)
    for gauge in gauges:
        for sample in source.series(gauge):
            if not policies or sample[1].get("policy") in {"", *policies}:
                yield sample


def _test_file(
    rules: Sequence[AnyCompiledRule],
    rule_files: Sequence[str],
    names: Sequence[str],
    samples: Samples,
    request: CaptureRequest,
    *,
    interval_ms: int,
) -> str:
    series = samples.series()
    for policy in request.policies:
        if not any(f'policy="{policy}"' in name for name in series):
            raise DictRateLimitError(f"{request.participant} had no bucket {policy} in that time")
    inputs = [input_series(name, values, interval_ms) for name, values in series.items()]
    playback = play(rules, inputs, until_ms=(samples.count - 1) * interval_ms, interval_ms=interval_ms)
    if playback.failed is not None:
        failure = playback.failed.failures[0]
        raise DictRateLimitError(
            f"{failure.name} fails {Duration(playback.failed.at_ms / 1000)} after the beginning, and promtool ends a "
            f"test there: {failure.message}"
        )
    interval = str(Duration(interval_ms / 1000))
    groups = list(dict.fromkeys(rule.group for rule in rules))
    external = next((rule.external for rule in rules if rule.kind == "alerting"), NOTHING_EXTERNAL)
    document = {
        "rule_files": list(rule_files),
        "evaluation_interval": interval,
        # promtool evaluates groups in any order otherwise.
        **({"group_eval_order": groups} if len(groups) > 1 else {}),
        "tests": [
            {
                "name": f"{', '.join((request.participant, *request.policies))}, {in_utc(request.period.since)} UTC",
                "interval": interval,
                **({"external_labels": dict(external.labels)} if external.labels else {}),
                **({"external_url": external.url} if external.url else {}),
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [test for name in names for test in _alert_tests(playback, name)],
            }
        ],
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1_000_000)


def _alert_tests(playback: Playback, name: str) -> Iterator[dict[str, Any]]:
    """Yields the expected state of an alert: at the beginning and the end, at each change, and just before it."""
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
    changes = [index for index in range(1, last + 1) if firing[index].keys() != firing[index - 1].keys()]
    for index in sorted({0, last, *changes, *(index - 1 for index in changes)}):
        yield {
            "eval_time": str(Duration(playback.steps[index].at_ms / 1000)),
            "alertname": name,
            "exp_alerts": [
                {
                    "exp_labels": {label: text for label, text in alert.labels.items() if label != "alertname"},
                    "exp_annotations": dict(alert.annotations),
                }
                for alert in firing[index].values()
            ],
        }


@dataclass(slots=True)
class Samples:
    """``count`` samples of each series, run-length encoded.

    ``began_at`` (UTC) is the time of the first one: timestamps are written in seconds since then.
    """

    began_at: datetime
    count: int = 0
    _runs: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    def add(self, samples: Iterable[Sample]) -> None:
        """Adds the next sample of each series. A series that has ended becomes stale, as it would in Prometheus."""
        values = {format_series(name, labels): self._notation(name, value) for name, labels, value in samples}
        for series in values.keys() - self._runs.keys():
            self._runs[series] = [(_BLANK, self.count)] if self.count else []
        for series, runs in self._runs.items():
            value = values.get(series)
            if value is None:
                value = _BLANK if runs[-1][0] in {_BLANK, _STALE} else _STALE
            if runs and runs[-1][0] == value:
                runs[-1] = (value, runs[-1][1] + 1)
            else:
                runs.append((value, 1))
        self.count += 1

    def series(self) -> Mapping[str, str]:
        """Returns each series with its values in promtool's expanding notation."""
        return {series: " ".join(map(_run_notation, runs)) for series, runs in sorted(self._runs.items())}

    def _notation(self, name: str, value: float) -> str:
        if is_timestamp(name):
            value -= self.began_at.timestamp()
        if not math.isfinite(value):
            return not_finite(value).removeprefix("+")  # promtool reads Inf and -Inf
        return repr(value).removesuffix(".0")


def _run_notation(run: tuple[str, int]) -> str:
    value, count = run
    if count == 1:
        return value
    if value == _BLANK:
        return f"_x{count}"
    if value[-1].isdigit():
        return f"{value}x{count - 1}"
    return " ".join([value] * count)

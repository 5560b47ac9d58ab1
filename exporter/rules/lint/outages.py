"""How a rule behaves while the Bridge does not answer, found by trying it on polls of some participant."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from exporter.alerts.alert import Alert, AlertState, fingerprint
from exporter.buckets.bucket import Bucket, Ispb, PolicyName
from exporter.buckets.catalog import POLICIES
from exporter.buckets.gauges import PARTICIPANT_INFO
from exporter.buckets.observation import BucketObservation, Failure, Observation, Poll, View, view_after
from exporter.errors import RuleEvaluationFailed
from exporter.rules.promql.expression import PARTICIPANT, POLICY
from exporter.rules.promql.sources import BUCKET_GAUGE_BY_NAME, LatestSource, ViewSource
from exporter.rules.promql.traversal import selectors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.rules.promql.sources import GivenSource
    from exporter.rules.rule import CompiledRule

_Figures = tuple[int, float, float, float]
"""Tokens left (percent), consumption a minute, seconds to empty, share of 404s."""

_TIME: Final = ("hour", "minute", "day_", "days_", "month", "year", "time")
"""What functions of the time have in their names."""

_OF_A_DAY: Final = frozenset({"hour", "minute"})
"""Of those, what is the same every day."""

_EXTREMES: Final[list[_Figures]] = [
    (0, 1_000_000.0, 0.0, 1.0),
    (1, 10_000.0, 1.0, 0.9),
    (50, 10.0, 300.0, 0.3),
    (100, 0.0, math.inf, 0.0),
]
"""Figures at which rules fire."""

_PARTICIPANT: Final = Ispb("00000000")
_POLICY: Final = PolicyName("POLICY")

_SOME_WEEK: Final = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(7 * 24)]


_GOES_STALE: Final = frozenset(BUCKET_GAUGE_BY_NAME) | {PARTICIPANT_INFO}
"""Gauges that are no longer served when no answer has confirmed them for long."""


class Trials:
    """Tries rules on polls that are made once for all of them."""

    def __init__(self) -> None:
        self._views: dict[tuple[datetime, _Figures | None, bool], View] = {}
        self._sources = _KeptSources()

    def findings(self, rule: CompiledRule) -> Iterator[str]:
        """Yields a sentence for what a rule does while the Bridge does not answer, and should not."""
        metrics = {selected.metric for selected in selectors(rule.expression.tree)}
        if metrics.isdisjoint(_GOES_STALE):
            return
        tried = replace(rule, sources=self._sources)
        if not self._holds(tried):
            yield (
                "has no hold: while the Bridge does not answer it resolves as soon as its gauges are no longer served; "
                f'add `or max by ({_identity(rule)}) (ALERTS{{alertname="{rule.name}", alertstate="firing"}} '
                "and on (participant) dict_rate_limit_up == 0)`"
            )
        if not metrics.isdisjoint(BUCKET_GAUGE_BY_NAME) and self._begins_on_old_figures(tried):
            yield (
                "may begin to fire while the Bridge does not answer, on figures from before; "
                "let its threshold ask for an answered poll: `and on (participant) dict_rate_limit_up == 1`"
            )

    def _holds(self, rule: CompiledRule) -> bool:
        """Whether the alert goes on while the Bridge has not answered for long, at some hour of the week at least."""
        policy = _POLICY if rule.per_policy else None
        labels = {name: template.text for name, template in rule.labels.items()}
        labels |= {"alertname": rule.name, PARTICIPANT: _PARTICIPANT, **({POLICY: policy} if policy else {})}
        identity = fingerprint(labels)
        for at in _instants(rule, _SOME_WEEK):
            firing = Alert(
                fingerprint=identity,
                group=rule.group,
                name=rule.name,
                severity=rule.severity,
                participant=_PARTICIPANT,
                policy=policy,
                labels=labels,
                annotations={},
                value=1.0,
                state=AlertState.FIRING,
                active_since=at,
                firing_since=at,
            )
            try:
                if rule.is_true(self._view(at, None), [firing]):
                    return True
            except RuleEvaluationFailed:
                return True  # what fails keeps its alerts as they are
        return False

    def _begins_on_old_figures(self, rule: CompiledRule) -> bool:
        """Whether an alert begins at a failed poll as it would at an answered one, for figures likely to do so.

        One that the outage itself begins, without any figures, does not count.
        """
        for at in _instants(rule, _SOME_WEEK[::3]):
            for figures in _EXTREMES:
                try:
                    if (
                        rule.is_true(self._view(at, figures), [])
                        and rule.is_true(self._view(at, figures, answered=True), [])
                        and not rule.is_true(self._view(at, None), [])
                    ):
                        return True
                except RuleEvaluationFailed:
                    continue
        return False

    def _view(self, at: datetime, figures: _Figures | None, *, answered: bool = False) -> View:
        """Returns what is seen after a poll, answered or not, and after figures, or none for long."""
        key = (at, figures, answered)
        if key not in self._views:
            self._views[key] = self._made(at, figures, answered=answered)
        return self._views[key]

    def _made(self, at: datetime, figures: _Figures | None, *, answered: bool) -> View:
        not_answered = _some_poll(at, Failure("UNAVAILABLE", "the Bridge does not answer"))
        if figures is None:
            return View(not_answered)
        if answered:
            return view_after(None, _some_poll(at, _observation(at, figures)))
        return view_after(self._view(at, figures, answered=True), not_answered)


class _KeptSources(LatestSource):
    """Keeps the source of every view, as long as the views themselves are kept."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[int, ViewSource | GivenSource] = {}

    def of(self, view: View) -> ViewSource | GivenSource:
        source = self._kept.get(id(view))
        if source is None:
            source = self._kept[id(view)] = super().of(view)
        return source


def _instants(rule: CompiledRule, some_week: list[datetime]) -> list[datetime]:
    """Returns when to try it: not twice where it cannot tell the one time from the other."""
    asked = {name for name in _TIME if name in rule.expr}
    if not asked:
        return some_week[:1]
    return some_week[: len(some_week) // 7] if asked <= _OF_A_DAY else some_week


def _identity(rule: CompiledRule) -> str:
    return f"{PARTICIPANT}, {POLICY}" if rule.per_policy else PARTICIPANT


def _observation(at: datetime, figures: _Figures) -> Observation:
    left_percent, rate, seconds, share = figures
    buckets = [
        BucketObservation(Bucket(policy, left_percent * 1_000, 100_000, 1_000, 60), rate, seconds, share)
        for policy in sorted([*POLICIES, _POLICY])
    ]
    return Observation(_PARTICIPANT, at, "A", "", tuple(buckets))


def _some_poll(at: datetime, result: Observation | Failure) -> Poll:
    return Poll(
        stream_id="",
        sequence=1,
        participant=_PARTICIPANT,
        polled_at=at,
        interval_seconds=15.0,
        staleness_seconds=300.0,
        result=result,
        last_success_at=at if isinstance(result, Observation) else at - timedelta(hours=1),
    )

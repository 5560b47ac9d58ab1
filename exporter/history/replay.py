"""Stored polls, replayed through rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from exporter.alerts.alert import Alert, Evaluation, Fingerprint, Rule, by_fingerprint
from exporter.alerts.lifecycle import evaluate, remove_participant
from exporter.buckets.observation import PARTICIPANT_REMOVED, Failure, Poll, View, view_after
from exporter.clock import utc
from exporter.history.episodes import Episodes

_EVER: Final = datetime.min.replace(tzinfo=UTC)
_WARM_UP: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Period:
    """``since`` up to, not including, ``until`` (UTC)."""

    since: datetime
    until: datetime

    @property
    def seconds(self) -> float:
        return (self.until - self.since).total_seconds()

    def __str__(self) -> str:
        return f"{utc(self.since)} to {utc(self.until)} UTC"


class Replay:
    """Replays one participant's polls through rules, in order, as the reconciler evaluated them.

    ``view`` is what `/metrics` served after the last poll, ``alerts`` are those open after it, and ``episodes`` those
    that were firing at ``since`` or later. Initial alerts are those open before the first poll.
    """

    def __init__(self, rules: Sequence[Rule], alerts: Collection[Alert] = (), since: datetime = _EVER) -> None:
        self.view: View | None = None
        self.alerts: Mapping[Fingerprint, Alert] = by_fingerprint(alerts)
        self.episodes = Episodes(since)
        self.episodes.resume(alerts)
        self._rules = rules

    def step(self, poll: Poll) -> Evaluation:
        """Returns the evaluation of the rules at the poll."""
        self.view = view_after(self.view, poll)
        return self.step_to(self.view)

    def step_to(self, view: View) -> Evaluation:
        """Does the same with the view after the poll, which several replays may share."""
        self.view = view
        if isinstance(view.poll.result, Failure) and view.poll.result.code == PARTICIPANT_REMOVED:
            evaluation = Evaluation({}, remove_participant(self.alerts, view.at))
        else:
            evaluation = evaluate(self._rules, view, self.alerts)
        self.alerts = evaluation.alerts
        self.episodes.add(evaluation.transitions)
        return evaluation


def warm_up(rule_sets: Sequence[Sequence[Rule]]) -> timedelta:
    """Returns how long before a period a replay begins, so that ``for`` and ``keep_firing_for`` are where they were."""
    longest = max((r.for_seconds + r.keep_firing_for_seconds for rules in rule_sets for r in rules), default=0.0)
    return max(_WARM_UP, timedelta(seconds=2 * longest))

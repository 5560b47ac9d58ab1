"""Polls of the past taken through rules again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from exporter.alerts.alert import Evaluation, by_fingerprint
from exporter.alerts.lifecycle import evaluate, remove_participant
from exporter.buckets.observation import PARTICIPANT_REMOVED, Failure, view_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from exporter.alerts.alert import Alert, Fingerprint, Rule
    from exporter.buckets.observation import Poll, View

_WARM_UP: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Period:
    """``since`` up to, not including, ``until`` (UTC)."""

    since: datetime
    until: datetime

    @property
    def seconds(self) -> float:
        return (self.until - self.since).total_seconds()


class Replay:
    """Takes one participant's polls through rules, in order, as the reconciler did.

    ``view`` is what `/metrics` showed after the last poll. ``alerts`` are those
    open after it; given at the start, those to go on with.
    """

    def __init__(self, rules: Sequence[Rule], alerts: Iterable[Alert] = ()) -> None:
        self.view: View | None = None
        self.alerts: Mapping[Fingerprint, Alert] = by_fingerprint(alerts)
        self._rules = rules

    def step(self, poll: Poll) -> Evaluation:
        """Returns what the poll made of the open alerts."""
        self.view = view_after(self.view, poll)
        return self.step_to(self.view)

    def step_to(self, view: View) -> Evaluation:
        """The same, with the view after the poll, where several replays share it."""
        self.view = view
        if isinstance(view.poll.result, Failure) and view.poll.result.code == PARTICIPANT_REMOVED:
            evaluation = Evaluation({}, remove_participant(self.alerts, view.at))
        else:
            evaluation = evaluate(self._rules, view, self.alerts)
        self.alerts = evaluation.alerts
        return evaluation


def warm_up(rule_sets: Sequence[Sequence[Rule]]) -> timedelta:
    """Returns how long before a period to begin, so that ``for`` and ``keep_firing_for`` stand where they stood."""
    longest = max((r.for_seconds + r.keep_firing_for_seconds for rules in rule_sets for r in rules), default=0.0)
    return max(_WARM_UP, timedelta(seconds=2 * longest))

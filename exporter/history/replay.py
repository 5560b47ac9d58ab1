"""Polls of the past taken through rules again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.alerts.alert import Evaluation, by_fingerprint
from exporter.alerts.lifecycle import evaluate, remove_participant
from exporter.buckets.observation import Failure, view_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from exporter.alerts.alert import Alert, Fingerprint, Rule
    from exporter.buckets.observation import Poll, View

REMOVED: Final = "PARTICIPANT_REMOVED"
"""The failure that the reconciler writes in place of a poll when the configuration no longer names a participant."""


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
        if isinstance(view.poll.result, Failure) and view.poll.result.code == REMOVED:
            evaluation = Evaluation({}, remove_participant(self.alerts, view.at))
        else:
            evaluation = evaluate(self._rules, view, self.alerts)
        self.alerts = evaluation.alerts
        return evaluation

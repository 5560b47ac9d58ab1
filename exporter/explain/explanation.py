"""Why an alert is, or isn't, firing at a poll of the past."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from exporter.alerts.alert import fingerprint
from exporter.buckets.bucket import PolicyName
from exporter.errors import DictRateLimitError
from exporter.explain.breakdown import Part, apart
from exporter.history.episodes import Episode, Episodes, firing_at
from exporter.history.participants import hint
from exporter.history.replay import Replay, warm_up
from exporter.history.rule_dependencies import needed_by
from exporter.rules.promql.expression import POLICY
from exporter.rules.promql.sources import Moment, ViewSource
from exporter.rules.promql.unsupported import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from exporter.alerts.alert import Alert, Rule, RuleSample, Severity
    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import Poll, View
    from exporter.rules.rule import CompiledRule
    from exporter.store.reader import Reader

_INSTANT: Final = timedelta(microseconds=1)
"""Times in the database are whole microseconds: a poll at the very time asked for counts."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """How one alert stands after the view's poll.

    ``policy`` None: about the participant, or about every bucket. ``alert`` is
    the open one; ``true`` whether the expression gave it. ``last_true_at``, ``last`` (the
    episode before) and ``polls`` are of the time from ``since`` on; 0 polls: nobody looked. ``failed`` is
    what the rule said where it could not be evaluated. ``recorded`` is what the
    database says fired then.
    """

    rule: CompiledRule
    view: View
    policy: PolicyName | None
    alert: Alert | None
    true: bool
    last_true_at: datetime | None
    last: Episode | None
    since: datetime
    polls: int
    failed: str | None
    recorded: Episode | None
    part: Part


class NothingToExplain(DictRateLimitError):
    """There was no poll, or no such bucket."""


def rules_named(name: str, rules: Sequence[CompiledRule]) -> list[CompiledRule]:
    """Raises DictRateLimitError where there is none, with the nearest name."""
    found = [rule for rule in rules if rule.name == name]
    if not found:
        raise DictRateLimitError(f"no rule is named {name}{hint(name, {rule.name for rule in rules})}")
    return found


async def explain_all(
    reader: Reader,
    named: Sequence[CompiledRule],
    rules: Sequence[CompiledRule],
    participants: Sequence[Ispb],
    *,
    policy: str | None,
    at: datetime,
) -> list[Explanation]:
    """Explains the rules of a name wherever there is an open alert; where there is none, for every participant.

    Raises as `explain` does where that is so of all of them.
    """
    found: list[Explanation] = []
    quiet: list[Explanation] = []
    nobody: DictRateLimitError | None = None
    for participant in participants:
        for rule in named:
            try:
                made = await explain(reader, rule, rules, participant=participant, policy=policy, at=at)
            except NothingToExplain as nothing:
                nobody = nothing
                continue
            (found if any(e.alert is not None for e in made) else quiet).extend(made)
    if not found and not quiet and nobody is not None:
        raise nobody
    return found or quiet


async def explain(
    reader: Reader,
    rule: CompiledRule,
    rules: Sequence[CompiledRule],
    *,
    participant: Ispb,
    policy: str | None,
    at: datetime,
) -> list[Explanation]:
    """Explains the rule at the participant's last poll that is not after ``at``.

    Without ``policy``, each open alert of the rule, or else all buckets at once.
    Raises NothingToExplain, DatabaseUnavailable.
    """
    watched = _Watched.of(rule)
    needed: list[Rule] = [watched if r is rule else r for r in needed_by([rule], rules)]
    since = at - warm_up([needed])
    names = {(r.name, r.severity) for r in needed}
    stored = await reader.alerts(include_resolved=True, participant=participant, since=since)
    alerts = [alert for alert in stored if (alert.name, alert.severity) in names]
    past = _Past(watched, needed, list(firing_at(alerts, since)), since)
    async for poll in reader.polls(participant, since, at + _INSTANT, evaluated_only=True):
        past.step(poll)
    view = past.replay.view
    if view is None:
        raise NothingToExplain(
            f"nobody polled {participant} from {since:%Y-%m-%d %H:%M:%S} to {at:%Y-%m-%d %H:%M:%S} UTC"
        )
    if policy is not None and policy not in past.policies:
        raise NothingToExplain(f"{participant} had no bucket {policy} then{nearest(policy, sorted(past.policies))}")
    wanted = PolicyName(policy) if policy is not None and rule.per_policy else None
    alerts = [alert for alert in alerts if watched.owns(alert)]
    open_alerts = [a for a in past.replay.alerts.values() if watched.owns(a) and wanted in {None, a.policy}]
    open_alerts.sort(key=lambda alert: (alert.policy or "", alert.fingerprint))
    subjects: list[tuple[Alert | None, PolicyName | None]] = [(a, a.policy) for a in open_alerts]
    return [past.explained(rule, view, alert, subject, alerts) for alert, subject in subjects or [(None, wanted)]]


@dataclass(slots=True)
class _Watched:
    """A rule that remembers what it was last shown and what it gave. Satisfies `exporter.alerts.alert.Rule`."""

    rule: CompiledRule
    group: str
    name: str
    for_seconds: float
    keep_firing_for_seconds: float
    severity: Severity
    per_policy: bool
    shown: Sequence[Alert] = ()
    given: Sequence[RuleSample] = ()

    @classmethod
    def of(cls, rule: CompiledRule) -> _Watched:
        return cls(
            rule,
            rule.group,
            rule.name,
            rule.for_seconds,
            rule.keep_firing_for_seconds,
            rule.severity,
            rule.per_policy,
        )

    @property
    def fixed_labels(self) -> Mapping[str, str]:
        return self.rule.fixed_labels

    def has_data(self, view: View, policy: PolicyName | None) -> bool:
        return self.rule.has_data(view, policy)

    def evaluate(self, view: View, alerts: Sequence[Alert]) -> list[RuleSample]:
        self.shown, self.given = alerts, ()
        given = self.rule.evaluate(view, alerts)
        self.given = given
        return given

    def owns(self, alert: Alert) -> bool:
        return (alert.name, alert.severity) == (self.name, self.severity)


class _Past:
    """The polls before, and at last the one in question, taken through the rule and those that it depends on."""

    def __init__(self, watched: _Watched, rules: Sequence[Rule], begun: Sequence[Alert], since: datetime) -> None:
        self.replay = Replay(rules, begun)
        self.policies: set[str] = set()
        self._watched = watched
        self._episodes = Episodes(since)
        self._episodes.go_on_with(begun)
        self._since = since
        self._polls = 0
        self._true_at: dict[str | None, datetime] = {}
        self._failed: str | None = None

    def step(self, poll: Poll) -> None:
        evaluation = self.replay.step(poll)
        rule = self._watched
        self._episodes.take(t for t in evaluation.transitions if rule.owns(t.alert))
        self._failed = next(
            (f.message for f in evaluation.failures if (f.group, f.name) == (rule.group, rule.name)), None
        )
        self._true_at |= dict.fromkeys((sample.labels.get(POLICY) for sample in rule.given), poll.polled_at)
        if self.replay.view is not None:
            self.policies.update(self.replay.view.buckets)
        self._polls += 1

    def explained(
        self, rule: CompiledRule, view: View, alert: Alert | None, policy: PolicyName | None, stored: Iterable[Alert]
    ) -> Explanation:
        def about(episode: Episode) -> bool:
            return policy in {None, episode.policy}

        found = [e for a in stored if (e := Episode.of(a)) is not None and about(e)]
        over = [e for e in self._episodes.all() if e.resolved_at is not None and about(e)]
        times = [at for name, at in self._true_at.items() if policy in {None, name}]
        moment = Moment(ViewSource(view), self._watched.shown, view.at.timestamp(), rule.unexpanded)
        return Explanation(
            rule=rule,
            view=view,
            policy=policy,
            alert=alert,
            true=alert is not None and alert.fingerprint in {fingerprint(s.labels) for s in self._watched.given},
            last_true_at=max(times, default=None),
            last=max(over, key=lambda e: e.began_at, default=None),
            since=self._since,
            polls=self._polls,
            failed=self._failed,
            recorded=next((e for e in found if _fires(e, view.at)), None),
            part=apart(rule.expression.tree, moment, policy),
        )


def _fires(episode: Episode, at: datetime) -> bool:
    return episode.began_at <= at and (episode.resolved_at is None or episode.resolved_at > at)

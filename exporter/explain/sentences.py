"""Why an alert is, or isn't, firing, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from exporter.alerts.alert import Alert, AlertState
from exporter.buckets.gauges import BUCKET_METRIC_BY_NAME, METRIC_NAMES, PARTICIPANT_GAUGE_BY_NAME, shown
from exporter.buckets.observation import MISSED_INTERVALS
from exporter.clock import in_utc
from exporter.durations import short
from exporter.explain.explanation import Explanation
from exporter.history.episodes import Episode
from exporter.numbers import counted
from exporter.rules.promql.traversal import looks_at_alerts, selectors


def sentences(why: Explanation, at: datetime) -> Iterator[str]:
    """Yields sentences, the most important first; ``at`` is the time that was asked about."""
    if why.error is not None:
        yield f"The rule failed at that poll, which leaves its alerts as they are: {why.error}."
    if why.alert is None:
        yield from _inactive(why)
    elif why.alert.state is AlertState.PENDING:
        yield _pending(why, why.alert)
    else:
        yield from _firing(why, why.alert)
    yield from _missing_data(why)
    if not why.view.up:
        staleness = short(why.view.poll.staleness_seconds)
        yield f"The Bridge did not answer that poll: the gauges keep their last known values, for at most {staleness}."
    if (at - why.view.at).total_seconds() > MISSED_INTERVALS * why.view.poll.interval_seconds:
        yield f"There was no poll from then to {in_utc(at)}, so no rule was evaluated."
    yield from _differences_from_database(why)


def _inactive(why: Explanation) -> Iterator[str]:
    subject = "this bucket" if why.policy else "the participant" if not why.rule.per_policy else "any bucket"
    if why.error is None:
        yield f"Not firing: the expression is not true for {subject}."
    if why.last_true_at is not None:
        before = short((why.view.at - why.last_true_at).total_seconds())
        yield f"It was last true at {in_utc(why.last_true_at)}, {before} before."
    elif why.polls:
        yield f"Nor was it at any of the {counted(why.polls, 'poll')} since {in_utc(why.since)}."
    last = why.last_episode
    if last is not None and last.resolved_at is not None:
        bucket = _bucket(why, last)
        yield f"It last fired{bucket} from {in_utc(last.began_at)} to {in_utc(last.resolved_at)} ({last.reason})."


def _pending(why: Explanation, alert: Alert) -> str:
    waits = timedelta(seconds=why.rule.for_seconds)
    true_for = (why.view.at - alert.active_since).total_seconds()
    return (
        f"Pending: true since {in_utc(alert.active_since)}, {short(true_for)} of the {short(waits.total_seconds())} "
        f"that `for` asks. It fires at the first poll from {in_utc(alert.active_since + waits)} on, "
        "if it is true at every poll until then."
    )


def _firing(why: Explanation, alert: Alert) -> Iterator[str]:
    since = alert.firing_since or alert.active_since
    true_since = f"; true since {in_utc(alert.active_since)}" if alert.active_since != since else ""
    yield f"Firing since {in_utc(since)} ({short((why.view.at - since).total_seconds())}){true_since}."
    keep_seconds = why.rule.keep_firing_for_seconds
    if alert.keep_firing_since is not None:
        until = alert.keep_firing_since + timedelta(seconds=keep_seconds)
        yield (
            f"The expression has not been true since {in_utc(alert.keep_firing_since)}: `keep_firing_for` "
            f"({short(keep_seconds)}) keeps the alert firing. It resolves at the first poll from {in_utc(until)} on, "
            "if it does not become true again."
        )
    elif why.is_true:
        branches = [branch for branch in why.breakdown.branches() if branch.series]
        if branches and all(looks_at_alerts(branch.tree) for branch in branches):
            yield f"It would not start firing now: it keeps firing by `{branches[0].text}`."
        if keep_seconds:
            yield f"It keeps firing for {short(keep_seconds)} (`keep_firing_for`) once the expression is not true."
        else:
            yield "It resolves at the first poll at which the expression is not true."


def _missing_data(why: Explanation) -> Iterator[str]:
    """Yields which gauges of the rule have no series, by reason."""
    by_reason: dict[str, list[str]] = {}
    selected = [s.metric for s in selectors(why.breakdown.tree) if s.metric in METRIC_NAMES]
    # What it looks at under another name, as rules record it, comes after.
    for gauge in dict.fromkeys([*selected, *sorted(why.rule.expression.vector.data.names())]):
        reason = _absence(why, gauge)
        if reason is not None:
            by_reason.setdefault(reason, []).append(gauge)
    for reason, gauges in by_reason.items():
        yield f"No data of {', '.join(gauges)}: {reason}."


def _absence(why: Explanation, gauge: str) -> str | None:
    """Returns why a gauge has no series; None: it has, or it is about every bucket and some have."""
    view, policy = why.view, why.policy
    if gauge not in BUCKET_METRIC_BY_NAME:
        return "it was not known" if PARTICIPANT_GAUGE_BY_NAME[gauge].value(view) is None else None
    if policy is None:
        return None if view.buckets else f"no bucket was confirmed within {short(view.poll.staleness_seconds)}"
    if policy in view.buckets:
        is_known = any(subject[0] == policy for subject, _ in shown(gauge, view))
        return None if is_known else "it was not known for this bucket"
    if policy in view.refused:
        return "the answer held impossible figures for this bucket"
    if view.up:
        return "the answer did not hold this bucket"
    return f"no answer held this bucket within {short(view.poll.staleness_seconds)}"


def _differences_from_database(why: Explanation) -> Iterator[str]:
    """Explains with today's rules: where the stored alert differs, other rules were loaded then."""
    fires = why.alert is not None and why.alert.state is AlertState.FIRING
    if fires and why.stored is None:
        yield "The database has no such alert firing then: other rules were in force."
    elif why.stored is not None and (why.alert is None or why.alert.firing_since != why.stored.began_at):
        bucket, since = _bucket(why, why.stored), in_utc(why.stored.began_at)
        yield f"The database has it firing{bucket} since {since}: other rules were in force."


def _bucket(why: Explanation, episode: Episode) -> str:
    return f" for {episode.policy}" if why.policy is None and episode.policy else ""

"""What a backtest found, ready to be shown; and the sentences that every form of it shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporter.backtest.comparison import Change, Line, Pair, Side, lines, pairs, side
from exporter.durations import short
from exporter.numbers import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from exporter.backtest.backtest import Failing, Past
    from exporter.buckets.bucket import Ispb
    from exporter.history.episodes import Episode
    from exporter.history.gaps import Gap
    from exporter.history.replay import Period

RAISED: Final = "what was raised"


@dataclass(frozen=True, slots=True)
class GapShown:
    participant: Ispb
    gap: Gap


@dataclass(frozen=True, slots=True)
class Report:
    """A backtest of ``mine`` (rule files), beside ``other`` (rule files, or what was raised).

    ``by_rule`` and ``by_policy`` are totals, the noisiest first; ``failing`` are
    rules of either side that could not be evaluated at some polls, with the side's name.
    ``replayed_since`` is where the replay began, if a rule looks at ``ALERTS``: what
    these hold may have begun before.
    """

    mine: str
    other: str
    period: Period
    policy: str | None
    participants: tuple[Ispb, ...]
    polls: int
    failed_polls: int
    observations: int
    gap_count: int
    gap_seconds: float
    gaps: tuple[GapShown, ...]
    pairs: tuple[Pair, ...]
    mine_total: Side
    other_total: Side
    by_rule: tuple[Line, ...]
    by_policy: tuple[Line, ...]
    failing: tuple[tuple[str, Ispb, Failing], ...]
    replayed_since: datetime | None

    @property
    def changes(self) -> dict[str, int]:
        return {change: sum(pair.change is change for pair in self.pairs) for change in Change}


def report(
    pasts: Sequence[Past],
    *,
    mine: str,
    other: str | None,
    period: Period,
    policy: str | None,
    replayed_since: datetime | None = None,
) -> Report:
    """Puts the first rule file's outcomes beside the second's, or (``other`` None) beside what was raised.

    ``policy`` leaves out alerts of others, and those about a participant.
    """
    found: list[Pair] = []
    failing: list[tuple[str, Ispb, Failing]] = []
    for past in pasts:
        outcomes = past.outcomes
        theirs = past.raised if other is None else outcomes[1].episodes
        found += pairs(_about(outcomes[0].episodes, policy), _about(theirs, policy), period.until)
        names = (mine, other or RAISED)
        failing += [
            (name, past.participant, f) for name, outcome in zip(names, outcomes, strict=False) for f in outcome.failing
        ]
    found.sort(key=lambda pair: pair.episode.began_at)
    return Report(
        mine=mine,
        other=other or RAISED,
        period=period,
        policy=policy,
        participants=tuple(past.participant for past in pasts),
        polls=sum(past.polls for past in pasts),
        failed_polls=sum(past.failed_polls for past in pasts),
        observations=sum(past.observations for past in pasts),
        gap_count=sum(past.gap_count for past in pasts),
        gap_seconds=sum(past.gap_seconds for past in pasts),
        gaps=tuple(sorted((GapShown(p.participant, g) for p in pasts for g in p.gaps), key=lambda s: -s.gap.seconds)),
        pairs=tuple(found),
        mine_total=side((p.mine for p in found), period),
        other_total=side((p.other for p in found), period),
        by_rule=tuple(lines(found, period, lambda e: (e.name, e.severity, ""))),
        by_policy=tuple(lines(found, period, lambda e: (e.name, e.severity, e.policy or "(participant)"))),
        failing=tuple(failing),
        replayed_since=replayed_since,
    )


def _about(episodes: Sequence[Episode], policy: str | None) -> list[Episode]:
    return [episode for episode in episodes if policy is None or episode.policy == policy]


def verdict(shown: Report) -> str:
    """Returns the comparison as a sentence."""
    mine, other, changes = shown.mine_total.alerts, shown.other_total.alerts, shown.changes
    if not shown.pairs:
        return f"No alert, neither from {shown.mine} nor in {shown.other}."
    if changes[Change.SAME] == len(shown.pairs):
        return f"The same {counted(mine, 'alert')}, begun and ended at the same polls."
    told = {Change.NEW: "new", Change.GONE: "gone", Change.CHANGED: "at other times", Change.SAME: "the same"}
    parts = ", ".join(f"{changes[change]:,} {text}" for change, text in told.items() if changes[change])
    return f"{counted(mine, 'alert')} instead of {other:,}{_noisier(mine, other)}: {parts}."


def _noisier(mine: int, other: int) -> str:
    if not other or mine == other:
        return ""
    percent = 100 * (mine - other) / other
    return f" ({percent:+.0f} %)"


def scope(shown: Report) -> str:
    """Returns what was looked at, as a line."""
    period = shown.period
    failed = f" ({shown.failed_polls:,} not answered)" if shown.failed_polls else ""
    of_policy = f", policy {shown.policy} only" if shown.policy else ""
    return (
        f"{period.since:%Y-%m-%d %H:%M:%S} to {period.until:%Y-%m-%d %H:%M:%S} UTC ({short(period.seconds)}), "
        f"{counted(len(shown.participants), 'participant')}{of_policy}, {counted(shown.polls, 'poll')}{failed}, "
        f"{counted(shown.observations, 'bucket observation')}"
    )


def gaps_told(shown: Report) -> str:
    """Returns what is missing from the history, as a sentence."""
    if not shown.gap_count:
        return "No gaps in the history."
    return (
        f"{counted(shown.gap_count, 'gap')} in the history, {short(shown.gap_seconds)} in all: "
        "nobody polled then, and rules are silent about it."
    )


def beginning_told(shown: Report) -> str:
    """Returns what is not known of the beginning, as a sentence; empty where all is."""
    if shown.replayed_since is None:
        return ""
    return (
        f"Replayed from {shown.replayed_since:%Y-%m-%d %H:%M:%S} on, with the alerts that fired then: one that was "
        "never raised, and that hysteresis (ALERTS) would have held since before, is not known."
    )

"""A backtest's report, with the sentences that its formats share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from exporter.backtest.backtest import BacktestResult, Coverage, FailedRule
from exporter.backtest.comparison import Change, Pair, Total, pair_episodes, total, totals
from exporter.buckets.bucket import Ispb
from exporter.clock import in_utc
from exporter.durations import short
from exporter.history.replay import Gap, Period
from exporter.numbers import counted

RAISED: Final = "what was raised"
CHANGE_WORDS: Final = {
    Change.NEW: "new",
    Change.REMOVED: "gone",
    Change.CHANGED: "at other times",
    Change.SAME: "the same",
}
MOST_FAILURES: Final = 10
"""A rule that fails mostly does so for each participant, and there may be a thousand."""


@dataclass(frozen=True, slots=True)
class Report:
    """A backtest of ``mine`` (rule files), compared with ``other`` (rule files, or what was raised).

    ``by_rule`` and ``by_policy`` are totals, those with most alerts first; ``gaps`` are the longest ones, the longest
    first; ``failed`` are rules of either side that could not be evaluated at some polls, with the side's name.
    ``replayed_since`` is where the replay began, if a rule selects ``ALERTS``: hysteresis may have begun before.
    """

    mine: str
    other: str
    period: Period
    policy: str | None
    participants: tuple[Ispb, ...]
    coverage: Coverage
    gaps: tuple[tuple[Ispb, Gap], ...]
    pairs: tuple[Pair, ...]
    total: Total
    by_rule: tuple[Total, ...]
    by_policy: tuple[Total, ...]
    failed: tuple[tuple[str, Ispb, FailedRule], ...]
    replayed_since: datetime | None

    @property
    def verdict(self) -> str:
        """The comparison as a sentence."""
        mine, other, changes = self.total.mine.alerts, self.total.other.alerts, self.total.changes
        if not self.pairs:
            return f"No alert, neither from {self.mine} nor in {self.other}."
        if changes[Change.SAME] == len(self.pairs):
            return f"The same {counted(mine, 'alert')}, begun and ended at the same polls."
        percent = f" ({100 * (mine - other) / other:+.0f} %)" if other and mine != other else ""
        details = ", ".join(f"{changes[change]:,} {words}" for change, words in CHANGE_WORDS.items() if changes[change])
        return f"{counted(mine, 'alert')} instead of {other:,}{percent}: {details}."

    @property
    def scope(self) -> str:
        """What was replayed, as a line."""
        coverage = self.coverage
        failed = f" ({coverage.failed_polls:,} not answered)" if coverage.failed_polls else ""
        of_policy = f", policy {self.policy} only" if self.policy else ""
        return (
            f"{self.period} ({short(self.period.seconds)}), "
            f"{counted(len(self.participants), 'participant')}{of_policy}, {counted(coverage.polls, 'poll')}{failed}, "
            f"{counted(coverage.observations, 'bucket observation')}"
        )

    @property
    def gap_summary(self) -> str:
        """How much of the history is missing, as a sentence."""
        coverage = self.coverage
        if not coverage.gap_count:
            return "No gaps in the history."
        return (
            f"{counted(coverage.gap_count, 'gap')} in the history, {short(coverage.gap_seconds)} in all: "
            "nothing was polled then, so no rule was evaluated."
        )

    @property
    def warm_up_note(self) -> str:
        """What is not known about the beginning, as a sentence; empty where all is."""
        if self.replayed_since is None:
            return ""
        return (
            f"Replayed from {in_utc(self.replayed_since)} on, with the alerts that were firing then. Not known: an "
            "alert that was never raised, and that hysteresis (ALERTS) would have kept firing since before."
        )

    def select_pairs(self, limit: int) -> tuple[Sequence[Pair], int]:
        """Returns the alerts to list, and how many are left out: those that are the same are left out first."""
        if len(self.pairs) <= limit:
            return self.pairs, 0
        differing = [pair for pair in self.pairs if pair.change is not Change.SAME]
        selected = (differing or self.pairs)[:limit]
        return selected, len(self.pairs) - len(selected)


def build_report(
    results: Sequence[BacktestResult],
    *,
    mine: str,
    other: str | None,
    period: Period,
    policy: str | None,
    replayed_since: datetime | None = None,
) -> Report:
    """Compares the first set of rules with the second, or (``other`` None) with what was raised.

    ``policy`` leaves out alerts of other policies, and those about a participant.
    """
    pairs: list[Pair] = []
    for result in results:
        sides = result.rule_sets[0].episodes, result.raised if other is None else result.rule_sets[1].episodes
        ours, theirs = ([e for e in side if policy is None or e.policy == policy] for side in sides)
        pairs += pair_episodes(ours, theirs, period.until)
    pairs.sort(key=lambda pair: pair.episode.began_at)
    gaps = [(result.participant, gap) for result in results for gap in result.gaps]
    return Report(
        mine=mine,
        other=other or RAISED,
        period=period,
        policy=policy,
        participants=tuple(result.participant for result in results),
        coverage=sum((result.coverage for result in results), Coverage()),
        gaps=tuple(sorted(gaps, key=lambda gap: -gap[1].seconds)),
        pairs=tuple(pairs),
        total=total(pairs, period),
        by_rule=tuple(totals(pairs, period, lambda e: (e.name, e.severity, ""))),
        by_policy=tuple(totals(pairs, period, lambda e: (e.name, e.severity, e.policy or "(participant)"))),
        failed=tuple(
            (name, result.participant, failed)
            for result in results
            for name, rule_set in zip((mine, other or RAISED), result.rule_sets, strict=False)
            for failed in rule_set.failed
        ),
        replayed_since=replayed_since,
    )

"""The feeds that a reconciler follows, and what it reports to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.alerts.alert import Severity
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Category
from exporter.feed.client import FeedClient
from exporter.feed.inbox import LocalFeed
from exporter.feed.wire import Report
from exporter.store.reconciliation import Reconciliation
from exporter.store.writer import LastPoll


@dataclass(slots=True)
class Feeds:
    """Those of other processes (``clients``), and that of this one (``local``)."""

    clients: list[FeedClient] = field(default_factory=list)
    local: LocalFeed | None = None

    @property
    def all(self) -> list[FeedClient | LocalFeed]:
        return [*self.clients] if self.local is None else [*self.clients, self.local]

    @property
    def participants(self) -> Collection[str]:
        """Those that the exporters poll; none while an exporter is away: it may poll others."""
        if not all(client.connected for client in self.clients):
            return ()
        return {participant for client in self.clients for participant in client.participants}

    def report_restored(self, last_polls: Mapping[Ispb, LastPoll]) -> None:
        """Reports the categories that the database knows."""
        known = {participant: last.category for participant, last in last_polls.items() if last.category is not None}
        for feed in self.all:
            own = {participant: category for participant, category in known.items() if feed.owns(participant)}
            if own:
                feed.report(Report(categories=own))

    def report_committed(
        self, reconciliations: Sequence[Reconciliation], categories: Mapping[Ispb, Category] | None = None
    ) -> None:
        """Reports to each feed what came of its polls, and categories that its exporter does not know."""
        for feed in self.all:
            own = [r for r in reconciliations if feed.owns(r.poll.participant)]
            if own:
                sequences = (r.poll.sequence for r in own if r.poll.stream_id == feed.stream_id)
                feed.report(
                    Report(
                        sequence=max(sequences, default=0),
                        transitions=tuple(t for r in own for t in r.transitions),
                        categories={p: c for p, c in (categories or {}).items() if feed.owns(p)},
                    )
                )

    def report_series(self, series: Collection[tuple[Severity, bool]]) -> None:
        """Reports the (severity, per policy) that the rules can produce."""
        for client in self.clients:
            client.report(Report(series=series))

    def report_outbox(self, pending: int, oldest_age_seconds: float | None) -> None:
        for client in self.clients:
            client.report(Report(outbox_pending=pending, outbox_oldest_age_seconds=oldest_age_seconds))

    def reset(self) -> None:
        for client in self.clients:
            client.reset()

"""The demo's output: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from exporter import files
from exporter.buckets.bucket import Bucket, Ispb
from exporter.buckets.observation import View, VisibleBucket
from exporter.config.settings import Settings
from exporter.durations import short

MOST_BUCKETS: Final = 12
MOST_EVENTS: Final = 10
TABLE_EDGES: Final = 3
"""Lines of a table beside its rows: the header, and one above and below."""

WIDE: Final = 110
"""Terminal width from which level bars fit beside names and figures."""


class _Output(Console):
    """Stdout, until its reader leaves."""

    def __init__(self, on_reader_left: Callable[[], None]) -> None:
        super().__init__(highlight=False)
        self._on_reader_left = on_reader_left

    def on_broken_pipe(self) -> None:
        self.quiet = True
        files.discard_stdout()
        self._on_reader_left()


class Screen:
    """Prints addresses, buckets and events as they come. ``close`` restores the terminal."""

    def __init__(self, on_reader_left: Callable[[], None] = lambda: None) -> None:
        self.live = sys.stdout.isatty()
        self._arrived: Counter[str] = Counter()
        self._console: Console = _Output(on_reader_left)
        self._addresses = Text()
        self._events: deque[str] = deque(maxlen=MOST_EVENTS)
        self._live: Live | None = None

    def say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)

    def addresses(self, web: str, settings: Settings) -> None:
        dsn = settings.database.dsn.reveal() if settings.database.dsn is not None else ""
        lines = [
            f"  metrics      http://{web}/metrics",
            f"  status page  http://{web}/",
            f"  PostgreSQL   {dsn}",
            f"  broker       {settings.pulsar.service_url}",
            f"  Bridge       {settings.bridge.target} (simulated)",
            "",
            "KEYS_CHECK runs low: an alert fires and resolves. ENTRIES_UPDATE dips between polls. Ctrl-C ends it.",
        ]
        self.say("")
        if self.live:
            self._addresses = Text("\n".join(lines), overflow="fold")
            self._live = Live(console=self._console, auto_refresh=False, transient=False)
            self._live.start()
            self.buckets({})
            return
        for line in (*lines, ""):
            self.say(line)

    def event(self, body: Mapping[str, Any]) -> None:
        """Prints an event of the broker."""
        self._arrived[body["state"]] += 1
        line = (
            f"{datetime.now(UTC):%H:%M:%S}  event {body['state']:<8}  {body['severity']:<8}  {body['alertname']}  "
            f"{body['participant']}  {body['policy'] or '-'}"
        )
        if body["utilization_percent"] is not None:
            line += f"  {body['utilization_percent']:.0f}% used"
        if body["state"] != "firing":
            line += f"  ({body['reason']})"
        self._note(line)

    def dip(self, participant: Ispb, bucket: Bucket) -> None:
        """Prints how low reads saw a bucket that two polls show well."""
        self._note(
            f"{datetime.now(UTC):%H:%M:%S}  between two polls  {participant}  {bucket.policy} down to "
            f"{bucket.available_tokens}/{bucket.capacity} tokens: only reads saw it"
        )

    def buckets(self, views: Mapping[Ispb, View]) -> None:
        """Prints the most used buckets of all participants."""
        rows = sorted(
            ((view, bucket) for view in views.values() for bucket in view.buckets.values()),
            key=lambda row: -row[1].observation.bucket.utilization_percent,
        )
        if self._live is not None:
            self._live.update(self._fitting(rows), refresh=True)
        elif rows:
            view, most_used = rows[0]
            bucket = most_used.observation.bucket
            self.say(
                f"{datetime.now(UTC):%H:%M:%S}  {sum(v.up for v in views.values())} of {len(views)} answered; "
                f"most used: {view.participant} {bucket.policy} "
                f"{bucket.available_tokens}/{bucket.capacity} tokens left ({bucket.utilization_percent:.0f}% used)"
            )

    def _note(self, line: str) -> None:
        self._events.append(line)
        if not self.live:
            self.say(line)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
        self.say(
            f"{self._arrived['firing']} firing and {self._arrived['resolved']} resolved events arrived from the broker"
        )

    def _fitting(self, rows: list[tuple[View, VisibleBucket]]) -> Group:
        """Returns as much as fits on the terminal: all addresses, the last events, the first of the rows."""
        width, height = self._console.size
        left = height - 1 - self._lines(self._addresses)
        events: list[Text] = []
        for event in reversed(self._events):
            text = Text(event, overflow="fold")
            if self._lines(text) + sum(map(self._lines, events)) > left // 2:
                break
            events.insert(0, text)
        room = left - sum(map(self._lines, events)) - TABLE_EDGES
        rows = rows[: min(MOST_BUCKETS, max(0, room))]
        table: list[Text | Table] = [Text(), self._table(rows, bars=width >= WIDE), Text()] if rows else []
        return Group(self._addresses, *table, *events)

    def _lines(self, text: Text) -> int:
        return len(text.wrap(self._console, self._console.width, overflow="fold"))

    def _table(self, rows: list[tuple[View, VisibleBucket]], *, bars: bool) -> Table:
        table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True, padding=(0, 1))
        for name in ("ISPB", "POLICY", *[""] * bars):
            table.add_column(name, no_wrap=True)
        for name in ("TOKENS", "A MINUTE", "EMPTY IN", "FULL IN"):
            table.add_column(name, justify="right", no_wrap=True)
        for view, visible in rows:
            observed, bucket = visible.observation, visible.observation.bucket
            used = bucket.utilization_percent
            colour = "red" if used >= 90 else "yellow" if used >= 80 else "green"
            left = round((100 - used) / 5)
            rate, empty = observed.consumption_rate_per_minute, observed.exhaustion_projection_seconds
            table.add_row(
                view.participant,
                bucket.policy,
                *[Text("█" * left + "░" * (20 - left), style=colour)] * bars,
                Text(f"{bucket.available_tokens}/{bucket.capacity}", style=colour),
                "" if rate is None else f"{rate:.0f}",
                "" if empty is None else short(empty),
                short(bucket.recovery_eta_seconds),
            )
        return table

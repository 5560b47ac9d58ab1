"""What the demo shows: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from exporter import stdout
from exporter.durations import short

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import View, VisibleBucket

SHOWN_BUCKETS: Final = 12
SHOWN_EVENTS: Final = 10
TABLE_EDGES: Final = 3
"""Lines that a table takes beside its rows: its head, and one above and below."""

WIDE: Final = 110
"""Columns that the level bars need, beside whole names and figures."""


class _Output(Console):
    """Stdout. A reader that has left is told of, and not written to any more."""

    def __init__(self, left: Callable[[], None]) -> None:
        super().__init__(highlight=False)
        self._left = left

    def on_broken_pipe(self) -> None:
        self.quiet = True
        stdout.discard()
        self._left()


class Screen:
    """Shows addresses, buckets and events as they come. ``close`` gives the terminal back.

    ``left`` is called when whoever reads stdout has left.
    """

    def __init__(self, left: Callable[[], None] = lambda: None) -> None:
        self.live = sys.stdout.isatty()
        self.firing = 0
        self.resolved = 0
        self._console: Console = _Output(left)
        self._addresses = Text()
        self._events: deque[str] = deque(maxlen=SHOWN_EVENTS)
        self._live: Live | None = None

    def say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)

    def addresses(self, web: str, dsn: str, broker: str, bridge: str) -> None:
        lines = [
            f"  metrics      http://{web}/metrics",
            f"  status page  http://{web}/",
            f"  PostgreSQL   {dsn}",
            f"  broker       {broker}",
            f"  Bridge       {bridge} (simulated)",
            "",
            "Within half a minute KEYS_CHECK runs low: an alert fires, and resolves. Ctrl-C ends the demo.",
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
        """An event as it arrived from the broker."""
        firing = body["state"] == "firing"
        self.firing += firing
        self.resolved += not firing
        line = (
            f"{datetime.now(UTC):%H:%M:%S}  event {body['state']:<8}  {body['severity']:<8}  {body['alertname']}  "
            f"{body['participant']}  {body['policy'] or '-'}"
        )
        if body["utilization_percent"] is not None:
            line += f"  {body['utilization_percent']:.0f}% used"
        if not firing:
            line += f"  ({body['reason']})"
        self._events.append(line)
        if not self.live:
            self.say(line)

    def buckets(self, views: Mapping[Ispb, View]) -> None:
        """The fullest-used buckets of all participants."""
        rows = sorted(
            ((view, bucket) for view in views.values() for bucket in view.buckets.values()),
            key=lambda row: -row[1].observation.bucket.utilization_percent,
        )
        if self._live is not None:
            self._live.update(self._fitting(rows), refresh=True)
        elif rows:
            view, worst = rows[0]
            bucket = worst.observation.bucket
            self.say(
                f"{datetime.now(UTC):%H:%M:%S}  {sum(v.up for v in views.values())} of {len(views)} answered; "
                f"most used: {view.participant} {bucket.policy} "
                f"{bucket.available_tokens}/{bucket.capacity} tokens left ({bucket.utilization_percent:.0f}% used)"
            )

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
        self.say(f"{self.firing} firing and {self.resolved} resolved events arrived from the broker")

    def _fitting(self, rows: list[tuple[View, VisibleBucket]]) -> Group:
        """Returns as much as the terminal has room for: all addresses, the last events, the first of the rows."""
        width, height = self._console.size
        left = height - 1 - self._lines(self._addresses)
        events: list[Text] = []
        for event in reversed(self._events):
            shown = Text(event, overflow="fold")
            if self._lines(shown) + sum(map(self._lines, events)) > left // 2:
                break
            events.insert(0, shown)
        room = left - sum(map(self._lines, events)) - TABLE_EDGES
        shown_rows = rows[: min(SHOWN_BUCKETS, max(0, room))]
        table: list[Text | Table] = [Text(), self._table(shown_rows, bars=width >= WIDE), Text()] if shown_rows else []
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

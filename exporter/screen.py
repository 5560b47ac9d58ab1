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

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import View, VisibleBucket

SHOWN_BUCKETS: Final = 12
SHOWN_EVENTS: Final = 10
WIDE: Final = 110
"""Columns that the level bars need, beside whole names and figures."""


class Screen:
    """Shows addresses, buckets and events as they come. ``close`` gives the terminal back."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self.firing = 0
        self.resolved = 0
        self._console = Console(highlight=False)
        self._events: deque[str] = deque(maxlen=SHOWN_EVENTS)
        self._live: Live | None = None

    def say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)

    def addresses(self, web: str, dsn: str, broker: str, bridge: str) -> None:
        self.say("")
        self.say(f"  metrics      http://{web}/metrics")
        self.say(f"  status page  http://{web}/")
        self.say(f"  PostgreSQL   {dsn}")
        self.say(f"  broker       {broker}")
        self.say(f"  Bridge       {bridge} (simulated)")
        self.say("")
        self.say("Traffic drains a bucket soon; watch the alert fire, and resolve. Ctrl-C ends the demo.")
        self.say("")
        if self.live:
            self._live = Live(console=self._console, auto_refresh=False, transient=False)
            self._live.start()

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
            width, height = self._console.size
            events = list(self._events)
            while sum(len(event) // width + 1 for event in events) > height // 2:
                events.pop(0)
            room = height - 2 - sum(len(event) // width + 1 for event in events)
            table = self._table(rows[: min(SHOWN_BUCKETS, room)], bars=width >= WIDE)
            self._live.update(Group(table, Text("\n".join(events))), refresh=True)
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
                "" if empty is None else "never" if empty == float("inf") else f"{empty:.0f}s",
                f"{bucket.recovery_eta_seconds:.0f}s",
            )
        return table

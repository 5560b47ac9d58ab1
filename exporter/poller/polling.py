"""All participants of a process polled: started, stopped, started again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from exporter.bridge.client import BridgeClient
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Category, View
from exporter.clock import Clock
from exporter.config.settings import Settings
from exporter.feed.backlog import Stream
from exporter.metrics import Metrics
from exporter.poller.poller import Poller
from exporter.poller.reads_off import ReadsOff

log = logging.getLogger(__name__)


class Polling:
    """One poller per participant: started, stopped, and started again, then with a new stream of polls."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        client: BridgeClient,
        new_stream: Callable[[], Stream],
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._client = client
        self._new_stream = new_stream
        self._clock = clock or Clock()
        self._reads_off = ReadsOff(metrics.polls.reads_off)
        self._tasks: list[asyncio.Task[None]] = []
        self.pollers: dict[Ispb, Poller] = {}
        self._died: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def learn_category(self, participant: Ispb, category: Category) -> None:
        """Takes over what is known of a participant's category from before this process polled."""
        if participant in self.pollers:
            self.pollers[participant].learn_category(category)

    @property
    def views(self) -> dict[Ispb, View]:
        return {participant: poller.view for participant, poller in self.pollers.items() if poller.view is not None}

    @property
    def reads_off(self) -> str | None:
        """Why single buckets are not read between polls: the setting, or what `ReadsOff` says; None: they are."""
        if not self._settings.poll.reads.share:
            return "poll.reads.share is 0"
        why, off, polled = self._reads_off.why, len(self._reads_off), len(self.pollers)
        return why if why is None or off == polled else f"{why} ({off} of {polled} participants)"

    @property
    def polled_once(self) -> bool:
        """Whether the first poll of each participant has ended, answered or not."""
        return all(poller.view is not None for poller in self.pollers.values())

    def start(self) -> None:
        if self._tasks:
            return
        stream = self._new_stream()
        for participant in map(Ispb, self._settings.participants):
            poller = self.pollers[participant] = Poller(
                participant,
                client=self._client,
                settings=self._settings,
                sink=stream,
                metrics=self._metrics,
                clock=self._clock,
                reads_off=self._reads_off,
            )
            task = asyncio.create_task(poller.run(), name=f"poller {participant}")
            task.add_done_callback(self._note_end)
            self._tasks.append(task)
        fields = {"participants": len(self.pollers), "interval": str(self._settings.poll.interval)}
        log.info("polling started", extra=fields)

    async def stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for participant in self.pollers:
            self._metrics.withdraw_gauges(participant)
        self._reads_off.clear()
        self.pollers = {}

    async def ended(self) -> None:
        """Waits until a poller ended, which none should. Raises its error."""
        await self._died

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self._died.done():
            self._died.set_exception(task.exception() or RuntimeError(f"{task.get_name()} ended"))

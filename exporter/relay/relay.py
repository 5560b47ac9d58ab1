"""Sends the outbox's events to Pulsar one by one, and commits what became of them."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from exporter import telemetry
from exporter.config.secrets import without_secrets
from exporter.config.settings import PulsarSettings
from exporter.durations import Backoff
from exporter.errors import BrokerUnavailable, ConfigurationError, DatabaseUnusable, EventRefused, LeaseLost
from exporter.metrics.own_metrics import RelayMetrics
from exporter.relay.producer import NoReceipt, Producer, Receipt, connected
from exporter.relay.quarantine import Quarantine
from exporter.store.database import DatabaseOutage
from exporter.store.lease import Fence
from exporter.store.outbox import DeliveryResults, Outbox, OutboxRow, Refused

log = logging.getLogger(__name__)

BATCH_ROWS: Final = 50
"""Rows that are taken, and whose receipts are committed, in one transaction."""
REFUSALS: Final = 3
"""How often the broker may refuse an event while it takes others, before it is never sent again."""
BACKOFF: Final = Backoff(first_seconds=0.5, longest_seconds=10.0)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take, in seconds."""

    idle_seconds: float = 5.0
    """How often the outbox is read while nothing says that an event is in it."""
    receipt_seconds: float = 10.0
    """How long to wait for a receipt the first time."""
    lost_seconds: float = 10.0
    """How long the client may try to get a lost connection back."""
    prune_seconds: float = 600.0
    """How often published rows past their retention are deleted."""
    last_receipt_seconds: float = 1.0
    """How long a relay that is cancelled waits for the event in flight."""
    commit_seconds: float = 1.0
    """How long a relay that is cancelled waits for the database."""
    backoff: Backoff = BACKOFF


TIMING: Final = Timing()


class Relay:
    """Relays for the lease's holder, within its ``fence``. ``wake`` is set by `Reconciler.on_transitions_committed`.

    ``message`` says why the broker cannot be used right now; None: it can.
    """

    def __init__(
        self,
        settings: PulsarSettings,
        outbox: Outbox,
        *,
        metrics: RelayMetrics,
        wake: asyncio.Event,
        fence: Fence,
        outage: DatabaseOutage | None = None,
        timing: Timing = TIMING,
    ) -> None:
        self.message: str | None = "not connected yet"
        self._settings = settings
        self._outbox = outbox
        self._metrics = metrics
        self._wake = wake
        self._fence = fence
        self._timing = timing
        self._failures = 0
        self._lost_at: float | None = None
        self._results = DeliveryResults()
        self._unconfirmed: OutboxRow | None = None
        self._quarantine = Quarantine(timing.receipt_seconds)
        self._outage = outage or DatabaseOutage()
        self._prune_at = time.monotonic()

    async def run(self) -> None:
        """Relays until cancelled. Raises LeaseLost; ConfigurationError where no broker is configured."""
        if self._settings.service_url is None:
            raise ConfigurationError("pulsar.service_url is not set")
        try:
            while True:
                try:
                    await self._session()
                except BrokerUnavailable as error:
                    self._in_trouble(str(error))
                    self._failures += 1
                except DatabaseUnusable as error:
                    self._outage.report(error, waiting="events")
                await asyncio.sleep(self._timing.backoff.seconds(self._failures))
        finally:
            with suppress(DatabaseUnusable, LeaseLost, TimeoutError):
                async with asyncio.timeout(self._timing.commit_seconds):
                    await self._commit_receipts()
            self._metrics.broker_up.withdraw()

    async def _session(self) -> None:
        """Relays with one producer, until a new one is needed. Raises BrokerUnavailable, DatabaseUnusable."""
        name = f"dict-rate-limit-{await self._outbox.installation_id()}"
        async with connected(self._settings, name) as producer:
            self._out_of_trouble()
            await self._commit_receipts()
            if producer.last_sequence_id > await self._outbox.highest_sequence_id():
                # Its receipts would be about events that this database knows nothing of.
                log.error(
                    "broker has events that this database never sent: the database is an older copy of itself, or "
                    "another relay sends in its name; becoming another producer, and sending again what is not marked",
                    extra={"sequence_id": producer.last_sequence_id},
                )
                await self._outbox.change_installation_id(self._fence)
                return
            self._resolve_unconfirmed(producer)
            while not producer.is_outdated:
                self._wake.clear()
                await self._commit_receipts()
                quarantined = self._quarantine.rows
                rows = await self._outbox.take(BATCH_ROWS, self._fence, producer=name, quarantined=quarantined)
                for index, row in enumerate(rows):
                    if not await self._send(producer, row):
                        # They get other ids: the order of sending is the order of ids.
                        self._results.unsent.extend(unsent.id for unsent in rows[index:])
                        return
                if not rows and quarantined:
                    self._quarantine.clear()
                elif not rows:
                    await self._prune()
                    await self._idle(producer)

    async def _send(self, producer: Producer, row: OutboxRow) -> bool:
        """Sends ``row``. Returns False where it is to be sent with another id, by another producer.

        Raises BrokerUnavailable.
        """
        started = time.monotonic()
        try:
            with telemetry.carrying(row.traceparent), telemetry.span("relay", "producer", event_id=str(row.event_id)):
                receipt = await self._receipt(producer, row)
        except EventRefused as error:
            self._dead_letter(row, str(error))
            return True
        except NoReceipt as error:
            if not self._quarantine.note_no_receipt(row):
                raise
            log.warning("event quarantined", extra={"event_id": str(row.event_id), "error": str(error)})
            return False
        if receipt.dropped and not row.sent_before:
            self._unconfirmed = row
            return False
        self._failures = 0
        self._out_of_trouble()
        self._note_published(row)
        self._metrics.duration.observe(time.monotonic() - started)
        if not receipt.partitioned:
            for refused in self._quarantine.note_receipt(row):
                self._refuse(refused)
        return True

    async def _receipt(self, producer: Producer, row: OutboxRow) -> Receipt:
        timeout_seconds = self._quarantine.timeout_seconds(row)
        sending = asyncio.create_task(
            producer.send(row, traceparent=telemetry.traceparent(), timeout_seconds=timeout_seconds)
        )
        try:
            while not (await asyncio.wait({sending}, timeout=1))[0]:
                self._check_connection(producer)
                with suppress(DatabaseUnusable):
                    await self._commit_receipts()
            return sending.result()
        except asyncio.CancelledError:
            with suppress(BrokerUnavailable, EventRefused, TimeoutError):
                async with asyncio.timeout(self._timing.last_receipt_seconds):
                    receipt = await sending
                if row.sent_before or not receipt.dropped:
                    self._note_published(row)
            raise
        finally:
            sending.cancel()

    def _resolve_unconfirmed(self, producer: Producer) -> None:
        """Decides about an event that the broker dropped though the relay had sent it only once.

        Where its id is the last that the broker has of this producer, the client itself had sent it again when it
        connected again. Otherwise the broker knew a higher id, and the event has not arrived.
        """
        row, self._unconfirmed = self._unconfirmed, None
        if row is None:
            return
        if producer.last_sequence_id == row.sequence_id:
            self._note_published(row)
            return
        self._metrics.receipt_defects.inc()
        log.error(
            "broker dropped an event that it did not have, sending it again with another sequence id",
            extra={"event_id": str(row.event_id), "sequence_id": row.sequence_id},
        )

    def _refuse(self, row: OutboxRow) -> None:
        if row.attempts + 1 >= REFUSALS:
            self._dead_letter(row, "the broker gave no receipt for it, while it took others")
        else:
            self._results.refused.append(Refused(row.id, "no receipt", dead=False))

    def _dead_letter(self, row: OutboxRow, why: str) -> None:
        self._results.refused.append(Refused(row.id, why, dead=True))
        self._metrics.events_dead.inc()
        log.error("event can never be sent", extra={"event_id": str(row.event_id), "error": why})

    def _note_published(self, row: OutboxRow) -> None:
        self._results.published.append(row.id)
        self._metrics.events_published.inc()

    async def _commit_receipts(self) -> None:
        """Commits what became of the rows. Raises DatabaseUnusable: it is still to be committed then."""
        if self._results:
            results, self._results = self._results, DeliveryResults()
            try:
                await self._outbox.commit_receipts(results, self._fence)
            except BaseException:
                self._results = results + self._results
                raise

    async def _prune(self) -> None:
        if time.monotonic() >= self._prune_at:
            pruned = await self._outbox.prune(self._settings.keep_published, self._fence)
            # As many as may go at once: there are more, and waiting would let a busy outbox grow without end.
            if pruned < self._outbox.prune_rows:
                self._prune_at = time.monotonic() + self._timing.prune_seconds

    async def _idle(self, producer: Producer) -> None:
        self._check_connection(producer)
        if producer.is_connected:
            self._failures = 0
            self._out_of_trouble()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timing.idle_seconds):
                await self._wake.wait()

    def _check_connection(self, producer: Producer) -> None:
        """Raises BrokerUnavailable where a lost connection is better made by another client.

        The client tries ever more rarely, up to once a minute, and with the token that it has.
        """
        if producer.is_connected:
            self._lost_at = None
            return
        self._in_trouble("the connection is lost")
        now = time.monotonic()
        self._lost_at = now if self._lost_at is None else self._lost_at
        if producer.is_outdated or now - self._lost_at >= self._timing.lost_seconds:
            self._lost_at = None
            raise BrokerUnavailable("the connection is lost")

    def _in_trouble(self, message: str) -> None:
        message = f"{without_secrets(self._settings.service_url or '')} {self._settings.topic}: {message}"
        if message != self.message:
            log.error("broker unusable, events wait", extra={"error": message})
        self.message = message
        self._metrics.broker_up.set(0)

    def _out_of_trouble(self) -> None:
        if self.message is not None:
            log.info("connected to the broker", extra={"topic": self._settings.topic})
        self.message = None
        self._metrics.broker_up.set(1)

"""The loop: takes rows, sends them one by one, and settles what became of them."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from exporter import telemetry
from exporter.backoff import Backoff
from exporter.config import without_secrets
from exporter.errors import (
    BrokerUnavailable,
    ConfigurationError,
    DatabaseUnavailable,
    DatabaseUnusable,
    EventRefused,
    LeaseLost,
)
from exporter.relay.producer import NoReceipt, connected
from exporter.relay.quarantine import Suspects
from exporter.store import outbox
from exporter.store.outbox import Outcome, Refused

if TYPE_CHECKING:
    from exporter.config import PulsarSettings
    from exporter.metrics import Metrics
    from exporter.relay.producer import Producer, Receipt
    from exporter.store.lease import Fence
    from exporter.store.outbox import Outbox, OutboxRow

log = logging.getLogger(__name__)

BATCH_ROWS: Final = 50
"""Rows that are taken, and settled, in one transaction."""

IDLE_SECONDS: Final = 5.0
"""How often the outbox is looked at when nobody says that something is in it."""

LOST_SECONDS: Final = 10.0
"""How long the client may try to get a lost connection back."""

PRUNE_SECONDS: Final = 600.0
LAST_RECEIPT_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 1.0
"""How long a relay that is cancelled waits for the event in flight, and for the database."""

BACKOFF: Final = Backoff(first_seconds=0.5, longest_seconds=10.0)

REFUSALS: Final = 3
"""How often the broker may refuse an event while it takes others, before it is never sent again."""


class Relay:
    """Relays for the lease's holder, within its ``fence``. ``wake`` is set when there is something to send.

    ``message`` says why the broker cannot be used right now; None: it can.
    """

    def __init__(
        self,
        settings: PulsarSettings,
        outbox: Outbox,
        *,
        metrics: Metrics,
        wake: asyncio.Event,
        fence: Fence,
        outage: telemetry.Outage | None = None,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self.message: str | None = "not connected yet"
        self._settings = settings
        self._outbox = outbox
        self._metrics = metrics
        self._wake = wake
        self._fence = fence
        self._backoff = backoff
        self._failures = 0
        self._lost_at: float | None = None
        self._outcome = Outcome()
        self._doubtful: OutboxRow | None = None
        self._suspects = Suspects()
        self._reminder = telemetry.Reminder()
        self._outage = outage or telemetry.Outage("database")
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
                    if isinstance(error, DatabaseUnavailable) and error.is_away:
                        self._outage.noticed(error)
                    elif self._reminder.is_due(str(error)):
                        log.warning("events wait for the database: %s", error)
                await asyncio.sleep(self._backoff.seconds(self._failures))
        finally:
            with suppress(DatabaseUnusable, LeaseLost, TimeoutError):
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._settle()
            self._metrics.broker_up.withdraw()

    async def _session(self) -> None:
        """Relays with one producer, until a new one is needed. Raises BrokerUnavailable, DatabaseUnusable."""
        name = f"dict-rate-limit-{await self._outbox.installation_id()}"
        async with connected(self._settings, name) as producer:
            self._out_of_trouble()
            await self._settle()
            if producer.last_sequence_id > await self._outbox.highest_sequence_id():
                # Its receipts would be about events that this database knows nothing of.
                log.error(
                    "the broker has events that the database never sent: it is an older copy of itself, or another "
                    "sends in its name; from now on it is another producer, and sends again what is not marked as sent",
                    extra={"sequence_id": producer.last_sequence_id},
                )
                await self._outbox.change_installation_id(self._fence)
                return
            self._resolve_doubt(producer)
            while not producer.is_outdated:
                self._wake.clear()
                await self._settle()
                held = self._suspects.held
                rows = await self._outbox.take(BATCH_ROWS, self._fence, producer=name, held=held)
                for place, row in enumerate(rows):
                    if not await self._send(producer, row):
                        # They get other ids: the order of sending is the order of ids.
                        self._outcome.unsent.extend(unsent.id for unsent in rows[place:])
                        return
                if not rows and held:
                    self._suspects.clear()
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
            self._bury(row, str(error))
            return True
        except NoReceipt as error:
            if not self._suspects.stalled(row):
                raise
            log.warning("an event is set aside: %s", error, extra={"event_id": str(row.event_id)})
            return False
        if receipt.dropped and not row.sent_before:
            self._doubtful = row
            return False
        self._failures = 0
        self._out_of_trouble()
        self._note_published(row)
        self._metrics.monitoring_duration.labels("relay").observe(time.monotonic() - started)
        if not receipt.partitioned:
            for suspect in self._suspects.taken(row):
                self._refuse(suspect)
        return True

    async def _receipt(self, producer: Producer, row: OutboxRow) -> Receipt:
        patience_seconds = self._suspects.patience_seconds(row)
        sending = asyncio.create_task(
            producer.send(row, traceparent=telemetry.traceparent(), patience_seconds=patience_seconds)
        )
        try:
            while not (await asyncio.wait({sending}, timeout=1))[0]:
                self._look_at(producer)
                with suppress(DatabaseUnusable):
                    await self._settle()
            return sending.result()
        except asyncio.CancelledError:
            with suppress(BrokerUnavailable, EventRefused, TimeoutError):
                async with asyncio.timeout(LAST_RECEIPT_SECONDS):
                    receipt = await sending
                if row.sent_before or not receipt.dropped:
                    self._note_published(row)
            raise
        finally:
            sending.cancel()

    def _resolve_doubt(self, producer: Producer) -> None:
        """Decides about an event that the broker dropped though the relay had sent it but once.

        Where its id is the last that the broker has of this producer, the client
        itself had sent it again when it connected again. Otherwise the broker knew
        a higher id, and the event has not arrived.
        """
        row, self._doubtful = self._doubtful, None
        if row is None:
            return
        if producer.last_sequence_id == row.sequence_id:
            self._note_published(row)
            return
        self._metrics.receipt_defects.inc()
        log.error(
            "the broker dropped an event that it did not have; it is sent again with another sequence id",
            extra={"event_id": str(row.event_id), "sequence_id": row.sequence_id},
        )

    def _refuse(self, row: OutboxRow) -> None:
        if row.attempts + 1 >= REFUSALS:
            self._bury(row, "the broker gave no receipt for it, while it took others")
        else:
            self._outcome.refused.append(Refused(row.id, "no receipt", dead=False))

    def _bury(self, row: OutboxRow, why: str) -> None:
        self._outcome.refused.append(Refused(row.id, why, dead=True))
        self._metrics.events_dead.inc()
        log.error("an event can never be sent: %s", why, extra={"event_id": str(row.event_id)})

    def _note_published(self, row: OutboxRow) -> None:
        self._outcome.published.append(row.id)
        self._metrics.events_published.inc()

    async def _settle(self) -> None:
        """Commits what became of the rows. Raises DatabaseUnusable: it is still to be committed then."""
        if self._outcome:
            outcome, self._outcome = self._outcome, Outcome()
            try:
                await self._outbox.settle(outcome, self._fence)
            except BaseException:
                self._outcome = outcome + self._outcome
                raise

    async def _prune(self) -> None:
        if time.monotonic() >= self._prune_at:
            pruned = await self._outbox.prune(self._settings.keep_published, self._fence)
            # As many as may go at once: there are more, and waiting would let a busy outbox grow for good.
            if pruned < outbox.PRUNE_ROWS:
                self._prune_at = time.monotonic() + PRUNE_SECONDS

    async def _idle(self, producer: Producer) -> None:
        self._look_at(producer)
        if producer.is_connected:
            self._failures = 0
            self._out_of_trouble()
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE_SECONDS):
                await self._wake.wait()

    def _look_at(self, producer: Producer) -> None:
        """Raises BrokerUnavailable where a lost connection is better made by another client.

        The client tries ever more rarely, up to once a minute, and with the token that it has.
        """
        if producer.is_connected:
            self._lost_at = None
            return
        self._in_trouble("the connection is lost")
        now = time.monotonic()
        self._lost_at = now if self._lost_at is None else self._lost_at
        if producer.is_outdated or now - self._lost_at >= LOST_SECONDS:
            self._lost_at = None
            raise BrokerUnavailable("the connection is lost")

    def _in_trouble(self, message: str) -> None:
        message = f"{without_secrets(self._settings.service_url or '')} {self._settings.topic}: {message}"
        if message != self.message:
            log.error("events wait for the broker: %s", message)
        self.message = message
        self._metrics.broker_up.set(0)

    def _out_of_trouble(self) -> None:
        if self.message is not None:
            log.info("connected to the broker", extra={"topic": self._settings.topic})
        self.message = None
        self._metrics.broker_up.set(1)

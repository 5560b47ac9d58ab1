"""Pulsar's client, as the relay needs it: one producer, one message at a time."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import Final
from urllib.parse import urlsplit

import pulsar
import pulsar.asyncio

from exporter.config.secrets import Secret
from exporter.config.settings import PulsarSettings
from exporter.errors import BrokerUnavailable, EventRefused
from exporter.store.outbox import OutboxRow

CLOSE_SECONDS: Final = 3.0
SOURCE: Final = "dict-rate-limit"
"""CloudEvents' ``source``."""

_REFUSALS: Final = frozenset({"MessageTooBig", "InvalidMessage"})
"""What the client says of a message that it will never be able to send."""


class NoReceipt(BrokerUnavailable):
    """The broker did not acknowledge an event in time."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the broker says of a message. ``dropped``: it had one with that id already, or a higher one."""

    dropped: bool
    partitioned: bool


class Producer:
    """A producer of the configured topic. `connected` makes one."""

    def __init__(self, producer: pulsar.asyncio.Producer, token: Secret | None) -> None:
        self._producer = producer
        self._token = token
        self._sent_token = None if token is None else token.reveal()
        self.last_sequence_id: int = producer.last_sequence_id()
        """The highest id that this name's messages had when it connected, as far as the broker knows; -1: none."""

    @property
    def is_connected(self) -> bool:
        return bool(self._producer.is_connected())

    @property
    def is_outdated(self) -> bool:
        """Whether the token has been renewed since: the client would go on sending the old one."""
        return self._token is not None and self._token.reveal() != self._sent_token

    async def send(self, row: OutboxRow, *, traceparent: str | None, timeout_seconds: float) -> Receipt:
        """Sends ``row``. Raises EventRefused, NoReceipt, BrokerUnavailable.

        The client reconnects on its own and sends again what was not acknowledged. A caller that is cancelled meanwhile
        still gets the receipt if it comes at once.
        """
        sending = asyncio.ensure_future(
            self._producer.send(
                row.body.encode(),
                properties=properties(row, traceparent),
                partition_key=row.fingerprint,
                event_timestamp=round(row.event_time.timestamp() * 1000),
                sequence_id=row.sequence_id,
            )
        )
        try:
            async with asyncio.timeout(timeout_seconds):
                message_id = await sending
        except TimeoutError as error:
            raise NoReceipt(f"no receipt within {timeout_seconds:g}s") from error
        except pulsar.asyncio.PulsarException as error:
            if error.error().name in _REFUSALS:
                raise EventRefused(f"{_said(error)} ({len(row.body)} characters)") from error
            raise BrokerUnavailable(_said(error)) from error
        return Receipt(
            dropped=message_id.ledger_id() == -1 and message_id.entry_id() == -1,
            partitioned=message_id.partition() >= 0,
        )


@asynccontextmanager
async def connected(settings: PulsarSettings, name: str) -> AsyncIterator[Producer]:
    """Lends a producer called ``name``. Raises BrokerUnavailable."""
    client = _client(settings)
    try:
        try:
            producer = await client.create_producer(
                settings.topic,
                producer_name=name,
                send_timeout_millis=0,
                batching_enabled=False,
                compression_type=pulsar.CompressionType.LZ4,
            )
        except pulsar.asyncio.PulsarException as error:
            why = _said(error)
            if error.error() == pulsar.Result.Timeout:
                why = await _why_unreachable(settings)
            raise BrokerUnavailable(why) from error
        yield Producer(producer, settings.token)
    finally:
        await asyncio.shield(_close(client))


def silent() -> pulsar.FileLogger:
    """Returns a logger for any Pulsar client of this process; the first client's is that of all.

    The clients' own threads must not call Python: one that does so while the
    interpreter ends takes the process down. What matters of their lines comes as errors.
    """
    return pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull)


def properties(row: OutboxRow, traceparent: str | None) -> dict[str, str]:
    """Returns the event's CloudEvents attributes and trace context, as message properties."""
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": str(row.event_id),
        "ce_source": SOURCE,
        "ce_type": row.type,
        "ce_time": row.event_time.astimezone(UTC).isoformat(),
        "ce_subject": row.subject,
        "ce_datacontenttype": "application/json",
        "ce_partitionkey": row.fingerprint,
        "ce_sequence": f"{row.sequence_id:020}",
    }
    return attributes if traceparent is None else attributes | {"traceparent": traceparent}


def _client(settings: PulsarSettings) -> pulsar.asyncio.Client:
    tls, authentication = settings.tls, None
    if settings.token is not None:
        authentication = pulsar.AuthenticationToken(settings.token.reveal())
    elif tls.cert_file is not None:
        authentication = pulsar.AuthenticationTLS(tls.cert_file, tls.key_file)
    try:
        return pulsar.asyncio.Client(
            settings.service_url,
            authentication=authentication,
            operation_timeout_seconds=max(1, round(settings.operation_timeout)),
            tls_trust_certs_file_path=tls.ca_file,
            tls_certificate_file_path=tls.cert_file,
            tls_private_key_file_path=tls.key_file,
            tls_validate_hostname=tls.validate_hostname,
            logger=silent(),
        )
    except (pulsar.PulsarException, ValueError, RuntimeError) as error:
        raise BrokerUnavailable(str(error)) from error


async def _close(client: pulsar.asyncio.Client) -> None:
    """Closes, by force where the broker doesn't answer.

    Whatever the client still has to say, it says while the event loop is there:
    its threads would take the process down otherwise.
    """
    closing = asyncio.create_task(client.close())
    closing.add_done_callback(lambda task: task.cancelled() or task.exception())
    try:
        await asyncio.wait({closing}, timeout=CLOSE_SECONDS)
    finally:
        if not closing.done():
            client.shutdown()
            await asyncio.wait({closing}, timeout=CLOSE_SECONDS)


async def _why_unreachable(settings: PulsarSettings) -> str:
    """Returns why no connection comes about, of which Pulsar's client says only that time ran out."""
    url = urlsplit((settings.service_url or "").split(",")[0])
    encrypted = url.scheme == "pulsar+ssl"
    try:
        context = _tls_context(settings) if encrypted else None
        connecting = asyncio.open_connection(url.hostname, url.port or (6651 if encrypted else 6650), ssl=context)
        async with asyncio.timeout(5):
            _, writer = await connecting
    except TimeoutError:
        return "it does not answer"
    except (OSError, ValueError) as error:
        return str(error)
    writer.close()
    return "it answers, and does not let this client in: it is not ready, or refuses pulsar.token or the certificate"


def _tls_context(settings: PulsarSettings) -> ssl.SSLContext:
    tls = settings.tls
    context = ssl.create_default_context(cafile=tls.ca_file)
    context.check_hostname = tls.validate_hostname
    if tls.cert_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


def _said(error: pulsar.asyncio.PulsarException) -> str:
    return " ".join(str(error).split())

"""Calls to the Bridge: deadline, retries, and what each failure means."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import grpc
from google.protobuf.message import DecodeError

from exporter import telemetry
from exporter.bridge.defect import Defect
from exporter.bridge.stubs.rate_limit_pb2 import (
    GetRateLimitPoliciesRequest,
    GetRateLimitPoliciesResponse,
    GetRateLimitPolicyRequest,
    GetRateLimitPolicyResponse,
)
from exporter.buckets.bucket import Ispb, PolicyName
from exporter.buckets.catalog import POLICIES_LIST, POLICIES_READ
from exporter.config.settings import BridgeSettings
from exporter.durations import Backoff
from exporter.errors import (
    BadAnswer,
    BridgeBudgetExhausted,
    BridgeError,
    BridgeRefused,
    BridgeUnavailable,
    ConfigurationError,
)
from exporter.grpc_tls import ChannelSource
from exporter.numbers import counted
from exporter.watched_files import STABLE_SECONDS

log = logging.getLogger(__name__)

LIST: Final = "GetRateLimitPolicies"
READ: Final = "GetRateLimitPolicy"
PAID_FROM: Final = {LIST: POLICIES_LIST, READ: POLICIES_READ}
"""Whose bucket pays for a call."""

Response = TypeVar("Response", GetRateLimitPoliciesResponse, GetRateLimitPolicyResponse)

RETRIED: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
REFUSALS: Final = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)

BACKOFF: Final = Backoff(first_seconds=0.1, longest_seconds=5.0)

_MAX_DETAILS: Final = 300
_CLOSED_BY_PEER: Final = ("Socket closed", "Connection reset", "Broken pipe")
"""How gRPC says that the other side ended the connection."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, not examined yet, and how many calls it took: each may have cost a token."""

    response: GetRateLimitPoliciesResponse
    attempts: int


class BridgeClient:
    """One connection to the Bridge, shared by all participants. Needs a running event loop.

    A connection that fails for ``failing_seconds`` is replaced, and its target's name resolved again;
    changed certificates are used once they have been unchanged for ``stable_seconds``.
    Raises ConfigurationError where certificates cannot be used.
    """

    def __init__(
        self, settings: BridgeSettings, failing_seconds: float = 5.0, stable_seconds: float = STABLE_SECONDS
    ) -> None:
        self._target = settings.target
        self._failing_seconds = failing_seconds
        self._timeout_seconds = float(settings.timeout)
        self._encrypted = not settings.insecure
        self._shows_certificate = settings.tls.cert_file is not None
        self._channels = ChannelSource(
            settings.target, settings.tls, insecure=settings.insecure, stable_seconds=stable_seconds
        )
        self._connection = _Connection(self._channels.channel())
        self._retired: list[_Connection] = []

    async def fetch(self, participant: Ispb, *, retries: int, time_limit_seconds: float) -> Fetched:
        """Returns the Bridge's answer for ``participant``.

        Makes up to ``1 + retries`` calls within ``time_limit_seconds``. Raises
        BridgeError, which carries the code and how many calls were made.
        """
        with telemetry.span("bridge.GetRateLimitPolicies", "client", participant=participant):
            loop = asyncio.get_running_loop()
            end = loop.time() + time_limit_seconds
            request = GetRateLimitPoliciesRequest(requesting_participant=participant).SerializeToString()
            attempts = 0
            while True:
                attempts += 1
                try:
                    payload = await self._call(LIST, request, min(self._timeout_seconds, end - loop.time()))
                except grpc.aio.AioRpcError as error:
                    wait_seconds = BACKOFF.seconds(attempts)
                    retried = error.code() in RETRIED and attempts <= retries
                    if retried and loop.time() + wait_seconds < end:
                        log.debug("call failed, retrying", extra={"participant": participant, "error": _details(error)})
                        await asyncio.sleep(wait_seconds)
                        continue
                    raise self._error(LIST, error, attempts) from error
                return Fetched(self._decode(GetRateLimitPoliciesResponse, payload, attempts), attempts)

    async def read(
        self, participant: Ispb, policy: PolicyName, *, time_limit_seconds: float
    ) -> GetRateLimitPolicyResponse:
        """Returns the Bridge's answer about one bucket, by one call. Raises BridgeError, which carries the code."""
        with telemetry.span("bridge.GetRateLimitPolicy", "client", participant=participant, policy=policy):
            request = GetRateLimitPolicyRequest(requesting_participant=participant, policy_name=policy)
            try:
                time_limit_seconds = min(self._timeout_seconds, time_limit_seconds)
                payload = await self._call(READ, request.SerializeToString(), time_limit_seconds)
            except grpc.aio.AioRpcError as error:
                raise self._error(READ, error, 1) from error
            return self._decode(GetRateLimitPolicyResponse, payload, 1)

    async def close(self) -> None:
        """Ends the connection, and the calls on it."""
        for connection in (self._connection, *self._retired):
            await connection.channel.close()

    async def _call(self, method: str, request: bytes, timeout_seconds: float) -> bytes:
        connection = self._current()
        traceparent = telemetry.traceparent()
        metadata = None if traceparent is None else (("traceparent", traceparent),)
        loop = asyncio.get_running_loop()
        began = loop.time()
        connection.calls += 1
        try:
            payload = await connection.methods[method](request, timeout=max(0.0, timeout_seconds), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() not in RETRIED:
                connection.answered_at = loop.time()
            elif error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                # A host that vanished leaves a connection that looks open for a quarter of an hour.
                connection.silent = connection.silent or connection.answered_at < began
            elif loop.time() - connection.answered_at >= self._failing_seconds:
                # A channel that cannot connect, or resolve its name, tries ever more rarely: up to two minutes.
                connection.silent = True
            raise
        else:
            connection.answered_at = loop.time()
            return payload
        finally:
            connection.calls -= 1
            await self._close_retired()

    def _current(self) -> _Connection:
        """Returns the connection to call on: a new one where certificates changed, or the old one is silent."""
        changed = self._channels.changed()
        if not changed and not self._connection.silent:
            return self._connection
        try:
            new = _Connection(self._channels.channel())
        except ConfigurationError as error:
            # Half of a pair may have been written; the other half is another change.
            log.warning("changed certificates are unusable, keeping the last ones", extra={"error": str(error)})
            return self._connection
        if changed:
            log.info("certificates reloaded", extra={"target": self._target})
        self._retired.append(self._connection)
        self._connection = new
        return new

    async def _close_retired(self) -> None:
        idle = [connection for connection in self._retired if not connection.calls]
        self._retired = [connection for connection in self._retired if connection.calls]
        for connection in idle:
            await connection.channel.close()

    def _error(self, method: str, error: grpc.aio.AioRpcError, attempts: int) -> BridgeError:
        status = error.code()
        code, details = status.name, _details(error)
        kind: type[BridgeError]
        if status in RETRIED:
            # UNAVAILABLE comes at once (nothing listens there), long before the timeout.
            within = f" within {self._timeout_seconds:g}s" if status is grpc.StatusCode.DEADLINE_EXCEEDED else ""
            tries = counted(attempts, "attempt")
            kind, what = BridgeUnavailable, f"did not answer{within} ({tries}); last error"
            details += self._hint(details)
        elif status in REFUSALS:
            kind, what = BridgeRefused, "refused the call"
        elif status is grpc.StatusCode.RESOURCE_EXHAUSTED:
            # gRPC gives the same code to an answer that is too long to receive.
            if "larger than max" in details:
                message = f"the answer of {self._target} is too long: {details}"
                return BadAnswer(message, attempts=attempts, defects=(Defect("too_long", None, details),))
            kind, what = BridgeBudgetExhausted, f"says that {PAID_FROM[method]} is dry"
        else:
            kind, what = BridgeError, "failed"
        return kind(f"{self._target} {what}: {code}: {details}", code=code, attempts=attempts)

    def _hint(self, details: str) -> str:
        """Returns the likely cause where the Bridge ends the connection in the middle of the TLS handshake.

        TLS 1.3 does not report that a certificate was refused.
        """
        if not self._encrypted or not any(sign in details for sign in _CLOSED_BY_PEER):
            return ""
        cause = "does not take this client's certificate" if self._shows_certificate else "wants a client certificate"
        return f"; perhaps the Bridge {cause} (mutual TLS): see bridge.tls.cert_file and bridge.tls.key_file"

    def _decode(self, kind: type[Response], payload: bytes, attempts: int) -> Response:
        # Not by the stub: it logs a traceback and returns None.
        try:
            return kind.FromString(payload)
        except DecodeError as error:
            message = f"the answer of {self._target} cannot be decoded: {error}"
            defect = Defect("undecodable", None, f"{len(payload)} bytes")
            raise BadAnswer(message, attempts=attempts, defects=(defect,)) from error


class _Connection:
    """A channel, its calls in progress, and when it was last answered. ``silent``: to be replaced."""

    __slots__ = ("answered_at", "calls", "channel", "methods", "silent")

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.methods: dict[str, Callable[..., Awaitable[bytes]]] = {
            method: channel.unary_unary(f"/bacen.dict.v2.RateLimitService/{method}") for method in PAID_FROM
        }
        self.calls = 0
        self.answered_at = asyncio.get_running_loop().time()
        self.silent = False


def _details(error: grpc.aio.AioRpcError) -> str:
    text = " ".join((error.details() or "").split())
    # PostgreSQL cannot hold a NUL: with one the poll would be missing from the history, and its alerts too.
    return "".join(character for character in text if character.isprintable())[:_MAX_DETAILS]

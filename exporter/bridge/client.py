"""Calls to the Bridge: deadline, retries, and what each failure means."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc
from google.protobuf.message import DecodeError

from exporter import telemetry
from exporter.backoff import Backoff
from exporter.bridge.answer import Defect
from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesRequest, GetRateLimitPoliciesResponse
from exporter.errors import (
    BadAnswer,
    BridgeBudgetExhausted,
    BridgeError,
    BridgeRefused,
    BridgeUnavailable,
    ConfigurationError,
)
from exporter.grpc_tls import ChannelSource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from exporter.buckets.bucket import Ispb
    from exporter.config import BridgeSettings

log = logging.getLogger(__name__)

METHOD: Final = "/bacen.dict.v2.RateLimitService/GetRateLimitPolicies"

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

FAILING_SECONDS: Final = 5.0
"""How long a connection may fail before it is made anew, from the name of its target on."""

_MAX_DETAILS: Final = 300
_HUNG_UP: Final = ("Socket closed", "Connection reset", "Broken pipe")
"""How gRPC tells that the other side ended the connection."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, not judged yet, and how many calls it took: each may have cost a token."""

    response: GetRateLimitPoliciesResponse
    attempts: int


class BridgeClient:
    """One connection to the Bridge, shared by all participants. Made within a running event loop.

    Raises ConfigurationError where certificates cannot be used.
    """

    def __init__(self, settings: BridgeSettings) -> None:
        self._target = settings.target
        self._timeout_seconds = float(settings.timeout)
        self._encrypted = not settings.insecure
        self._shows_certificate = settings.tls.cert_file is not None
        self._channels = ChannelSource(settings.target, settings.tls, insecure=settings.insecure)
        self._line = _Line(self._channels.channel())
        self._retired: list[_Line] = []

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
                    payload = await self._call(request, min(self._timeout_seconds, end - loop.time()))
                except grpc.aio.AioRpcError as error:
                    wait_seconds = BACKOFF.seconds(attempts)
                    retried = error.code() in RETRIED and attempts <= retries
                    if retried and loop.time() + wait_seconds < end:
                        log.debug("retrying: %s", _details(error), extra={"participant": participant})
                        await asyncio.sleep(wait_seconds)
                        continue
                    raise self._error(error, attempts) from error
                return Fetched(self._decode(payload, attempts), attempts)

    async def close(self) -> None:
        """Ends the connection, and the calls on it."""
        for line in (self._line, *self._retired):
            await line.channel.close()

    async def _call(self, request: bytes, timeout_seconds: float) -> bytes:
        line = self._current()
        traceparent = telemetry.traceparent()
        metadata = None if traceparent is None else (("traceparent", traceparent),)
        loop = asyncio.get_running_loop()
        began = loop.time()
        line.calls += 1
        try:
            payload = await line.method(request, timeout=max(0.0, timeout_seconds), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() not in RETRIED:
                line.heard_at = loop.time()
            elif error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                # A host that vanished leaves a connection that looks open for a quarter of an hour.
                line.silent = line.silent or line.heard_at < began
            elif loop.time() - line.heard_at >= FAILING_SECONDS:
                # A channel that cannot connect, or resolve its name, tries ever more rarely: up to two minutes.
                line.silent = True
            raise
        else:
            line.heard_at = loop.time()
            return payload
        finally:
            line.calls -= 1
            await self._close_retired()

    def _current(self) -> _Line:
        """Returns the line to call on: a new one where certificates changed, or the old one is silent."""
        changed = self._channels.changed()
        if not changed and not self._line.silent:
            return self._line
        try:
            new = _Line(self._channels.channel())
        except ConfigurationError as error:
            # Half of a pair may be written: the other half is one more change.
            log.warning("changed certificates are not used, the last ones stay: %s", error)
            return self._line
        if changed:
            log.info("certificates were read again", extra={"target": self._target})
        self._retired.append(self._line)
        self._line = new
        return new

    async def _close_retired(self) -> None:
        idle = [line for line in self._retired if not line.calls]
        if idle:
            self._retired = [line for line in self._retired if line.calls]
            for line in idle:
                await line.channel.close()

    def _error(self, error: grpc.aio.AioRpcError, attempts: int) -> BridgeError:
        status = error.code()
        code, details = status.name, _details(error)
        if status in RETRIED:
            calls = f"{attempts} attempt{'' if attempts == 1 else 's'}"
            # UNAVAILABLE comes at once (nobody listens), long before the timeout.
            within = f" within {self._timeout_seconds:g}s" if status is grpc.StatusCode.DEADLINE_EXCEEDED else ""
            return BridgeUnavailable(
                f"{self._target} did not answer{within} ({calls}); last error: {code}: {details}{self._hint(details)}",
                code=code,
                attempts=attempts,
            )
        if status in REFUSALS:
            return BridgeRefused(f"{self._target} refused the call: {code}: {details}", code=code, attempts=attempts)
        if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
            # gRPC gives the same code to an answer that is too long to receive.
            if "larger than max" in details:
                return BadAnswer(
                    f"the answer of {self._target} is too long: {details}",
                    attempts=attempts,
                    defects=(Defect("too_long", None, details),),
                )
            return BridgeBudgetExhausted(
                f"{self._target} says that POLICIES_LIST is dry: {code}: {details}", code=code, attempts=attempts
            )
        return BridgeError(f"{self._target} failed: {code}: {details}", code=code, attempts=attempts)

    def _hint(self, details: str) -> str:
        """Returns what is likely behind a connection that the Bridge ends in the middle of TLS's handshake.

        Of a certificate that it refuses, TLS 1.3 tells nothing.
        """
        if not self._encrypted or not any(sign in details for sign in _HUNG_UP):
            return ""
        shown = "does not take this client's certificate" if self._shows_certificate else "wants a client certificate"
        return f"; perhaps the Bridge {shown} (mutual TLS): see bridge.tls.cert_file and bridge.tls.key_file"

    def _decode(self, payload: bytes, attempts: int) -> GetRateLimitPoliciesResponse:
        # Not by the stub: it logs a traceback and returns None.
        try:
            return GetRateLimitPoliciesResponse.FromString(payload)
        except DecodeError as error:
            raise BadAnswer(
                f"the answer of {self._target} cannot be decoded: {error}",
                attempts=attempts,
                defects=(Defect("undecodable", None, f"{len(payload)} bytes"),),
            ) from error


class _Line:
    """A channel, and what happens on it: calls in progress, and when anything was last heard."""

    __slots__ = ("calls", "channel", "heard_at", "method", "silent")

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.method: Callable[..., Awaitable[bytes]] = channel.unary_unary(METHOD)
        self.calls = 0
        self.heard_at = asyncio.get_running_loop().time()
        self.silent = False


def _details(error: grpc.aio.AioRpcError) -> str:
    text = " ".join((error.details() or "").split())
    # A NUL, which PostgreSQL cannot hold, would cost the poll its place in the history, and its alerts.
    return "".join(character for character in text if character.isprintable())[:_MAX_DETAILS]

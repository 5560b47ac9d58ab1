"""A gRPC Bridge that answers as a test says, and a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc

from exporter.bridge.client import BridgeClient
from exporter.bridge.stubs.rate_limit_pb2 import (
    GetRateLimitPoliciesRequest,
    GetRateLimitPoliciesResponse,
    GetRateLimitPolicyRequest,
    GetRateLimitPolicyResponse,
    RateLimitPolicy,
)
from exporter.config.settings import BridgeSettings, TlsSettings
from exporter.durations import Duration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Answer = Callable[[int, grpc.aio.ServicerContext], Awaitable[bytes]]

GOOD = GetRateLimitPoliciesResponse(
    correlation_id="c-1", policies=[RateLimitPolicy(name="A", capacity=1, refill_tokens=1, refill_period_sec=1)]
).SerializeToString()


GOOD_READ = GetRateLimitPolicyResponse(
    correlation_id="r-1", policy=RateLimitPolicy(name="A", capacity=1, refill_tokens=1, refill_period_sec=1)
).SerializeToString()


class Bridge:
    """A server whose ``answer(call, context)`` makes the bytes of each answer, also to reads; calls count from 1."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.calls = 0
        self.called = asyncio.Event()
        self.requests: list[GetRateLimitPoliciesRequest | GetRateLimitPolicyRequest] = []
        self.metadata: list[dict[str, Any]] = []
        self.peers: list[str] = []
        self.client_names: list[str | None] = []
        self.target = ""

    async def serve(
        self,
        request: GetRateLimitPoliciesRequest | GetRateLimitPolicyRequest,
        context: grpc.aio.ServicerContext,
    ) -> bytes:
        self.calls += 1
        self.called.set()
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.peers.append(context.peer())
        names = context.auth_context().get("x509_common_name")
        self.client_names.append(names[0].decode() if names else None)
        return await self.answer(self.calls, context)


@asynccontextmanager
async def bridge(
    answer: Answer, credentials: grpc.ServerCredentials | None = None, *, address: str = "127.0.0.1:0"
) -> AsyncIterator[Bridge]:
    """Serves, in plaintext unless there are credentials."""
    made = Bridge(answer)
    server = grpc.aio.server()
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(made.serve, request_deserializer=kind.FromString)
        for method, kind in (
            ("GetRateLimitPolicies", GetRateLimitPoliciesRequest),
            ("GetRateLimitPolicy", GetRateLimitPolicyRequest),
        )
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bacen.dict.v2.RateLimitService", handlers),))
    port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    made.target = f"{address.partition(':')[0]}:{port}"
    await server.start()
    try:
        yield made
    finally:
        await server.stop(None)


@asynccontextmanager
async def client(
    target: str, *, tls: TlsSettings | None = None, attempt_seconds: float = 30.0, **options: float
) -> AsyncIterator[BridgeClient]:
    """Makes a client: in plaintext unless there is ``tls``."""
    settings = BridgeSettings(
        target=target, insecure=tls is None, tls=tls or TlsSettings(), timeout=Duration(attempt_seconds)
    )
    made = BridgeClient(settings, **options)
    try:
        yield made
    finally:
        await made.close()


async def good(_call: int, _context: grpc.aio.ServicerContext) -> bytes:
    return GOOD


async def good_read(_call: int, _context: grpc.aio.ServicerContext) -> bytes:
    return GOOD_READ


def status(code: grpc.StatusCode, details: str = "so it is") -> Answer:
    async def answer(_call: int, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(code, details)
        raise AssertionError

    return answer


def good_after(failures: int, code: grpc.StatusCode) -> Answer:
    refuse = status(code)

    async def answer(call: int, context: grpc.aio.ServicerContext) -> bytes:
        return await (refuse if call <= failures else good)(call, context)

    return answer


async def never(_call: int, _context: grpc.aio.ServicerContext) -> bytes:
    await asyncio.Event().wait()
    raise AssertionError

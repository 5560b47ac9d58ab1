"""The simulated Bridge as a gRPC server."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc

from exporter.addresses import grpc_listen_address, listen_failure
from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesRequest, GetRateLimitPolicyRequest
from exporter.buckets.bucket import Ispb
from exporter.config.settings import TlsSettings
from exporter.errors import ConfigurationError
from exporter.grpc_tls import server_credentials
from exporter.simulator.scenario import load
from exporter.simulator.world import Refusal, Reply, World, ispbs

log = logging.getLogger(__name__)


async def run(scenario: str | Path, *, address: str, participants: int, seed: int, tls: TlsSettings | None) -> None:
    """Serves until SIGINT or SIGTERM. Raises ConfigurationError."""
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    simulator = await start(scenario, address=address, participants=participants, seed=seed, tls=tls)
    names = str(simulator.participants[0])
    if participants > 1:
        names = f"{names} to {simulator.participants[-1]} ({participants})"
    print(f"bridge simulator on {simulator.address}, scenario {scenario}, participants {names}", flush=True)  # noqa: T201
    await stop.wait()
    await simulator.stop()


async def start(
    scenario: str | Path,
    *,
    address: str,
    participants: int,
    seed: int,
    tls: TlsSettings | None = None,
    clock: Callable[[], datetime] | None = None,
) -> Simulator:
    """Listens on ``address`` (port 0: any). Raises ConfigurationError.

    ``scenario`` is a shipped one's name, or a file. ``clock`` returns UTC time; it is read at each call.
    """
    now = clock or (lambda: datetime.now(UTC))
    address = grpc_listen_address("--listen-address", address)
    names = ispbs(participants)
    world = World(load(scenario), names, seed, now())
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_handlers(world, now),))
    try:
        if tls is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, server_credentials(tls, client_required=bool(tls.ca_file)))
    except RuntimeError as error:
        raise ConfigurationError(f"--listen-address: cannot listen on {address}: {listen_failure(address)}") from error
    await server.start()
    return Simulator(server, world, names, f"{address.rpartition(':')[0]}:{port}", port)


@dataclass(frozen=True, slots=True)
class Simulator:
    """A simulated Bridge that listens."""

    server: grpc.aio.Server
    world: World
    participants: tuple[Ispb, ...]
    address: str
    port: int

    async def stop(self) -> None:
        """Ends calls in progress, and closes the port."""
        await self.server.stop(grace=None)


def _handlers(world: World, now: Callable[[], datetime]) -> grpc.GenericRpcHandler:
    def handler(request_type: Any, reply_to: Callable[[Any], Reply]) -> grpc.RpcMethodHandler[Any, Any]:
        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            try:
                reply = reply_to(request)
            except Refusal as refusal:
                await context.abort(grpc.StatusCode[refusal.code], str(refusal))
            await asyncio.sleep(reply.delay_seconds)
            return reply.payload

        return grpc.unary_unary_rpc_method_handler(answer, request_deserializer=request_type.FromString)

    return grpc.method_handlers_generic_handler(
        "bacen.dict.v2.RateLimitService",
        {
            "GetRateLimitPolicies": handler(
                GetRateLimitPoliciesRequest, lambda request: world.reply(request.requesting_participant, now())
            ),
            "GetRateLimitPolicy": handler(
                GetRateLimitPolicyRequest,
                lambda request: world.reply_one(request.requesting_participant, request.policy_name, now()),
            ),
        },
    )

"""The client against a real gRPC server that answers as each test says."""

from __future__ import annotations

import asyncio

import grpc
import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id

from exporter import telemetry
from exporter.bridge.client import BridgeClient
from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesRequest, GetRateLimitPolicyRequest
from exporter.config.settings import BridgeSettings, TlsSettings
from exporter.errors import (
    BadAnswer,
    BridgeBudgetExhausted,
    BridgeError,
    BridgeRefused,
    BridgeUnavailable,
    ConfigurationError,
)
from tests.support.bridge import Bridge, bridge, client, good, good_after, good_read, never, status
from tests.support.builders import PARTICIPANT, POLICY
from tests.support.names import name_server
from tests.support.ports import free_port


async def failure(client: BridgeClient, *, retries: int = 0, time_limit_seconds: float = 30.0) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await client.fetch(PARTICIPANT, retries=retries, time_limit_seconds=time_limit_seconds)
    return caught.value


async def test_the_participant_is_asked_for_and_the_answer_handed_over():
    async with bridge(good) as server, client(server.target) as made:
        fetched = await made.fetch(PARTICIPANT, retries=2, time_limit_seconds=30)

        assert fetched.response.correlation_id == "c-1"
        assert fetched.attempts == 1
        assert server.requests == [GetRateLimitPoliciesRequest(requesting_participant=PARTICIPANT)]


async def failed_read(client: BridgeClient, *, time_limit_seconds: float = 30.0) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await client.read(PARTICIPANT, POLICY, time_limit_seconds=time_limit_seconds)
    return caught.value


async def test_one_bucket_is_asked_for_and_its_answer_handed_over():
    async with bridge(good_read) as server, client(server.target) as made:
        response = await made.read(PARTICIPANT, POLICY, time_limit_seconds=30)

        assert response.correlation_id == "r-1"
        assert server.requests == [GetRateLimitPolicyRequest(requesting_participant=PARTICIPANT, policy_name=POLICY)]


async def test_a_read_is_not_made_again_and_its_error_says_what_is_wrong():
    async with bridge(status(grpc.StatusCode.UNAVAILABLE, "no route")) as server, client(server.target) as made:
        error = await failed_read(made)

        assert isinstance(error, BridgeUnavailable)
        assert (error.code, server.calls) == ("UNAVAILABLE", 1)
        assert str(error) == f"{server.target} did not answer (1 attempt); last error: UNAVAILABLE: no route"


async def test_a_read_that_dict_refuses_for_want_of_tokens_names_the_bucket_that_pays_for_it():
    async with bridge(status(grpc.StatusCode.RESOURCE_EXHAUSTED, "429")) as server, client(server.target) as made:
        error = await failed_read(made)

        assert isinstance(error, BridgeBudgetExhausted)
        assert str(error) == f"{server.target} says that POLICIES_READ is dry: RESOURCE_EXHAUSTED: 429"


async def test_a_bridge_that_has_no_such_call_refuses_reads():
    async with bridge(status(grpc.StatusCode.UNIMPLEMENTED, "unknown method")) as server, client(server.target) as made:
        error = await failed_read(made)

        assert isinstance(error, BridgeRefused)
        assert error.code == "UNIMPLEMENTED"


async def test_a_read_that_takes_too_long_is_given_up():
    async with bridge(never) as server, client(server.target) as made:
        assert (await failed_read(made, time_limit_seconds=0.05)).code == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
async def test_a_bridge_that_is_away_for_a_moment_is_asked_again(code: grpc.StatusCode):
    async with bridge(good_after(2, code)) as server, client(server.target) as made:
        fetched = await made.fetch(PARTICIPANT, retries=2, time_limit_seconds=30)

        assert fetched.attempts == server.calls == 3


async def test_a_bridge_that_stays_away_is_asked_as_often_as_allowed_and_the_error_says_so():
    async with (
        bridge(status(grpc.StatusCode.UNAVAILABLE, "no route to\nDICT")) as server,
        client(server.target) as made,
    ):
        error = await failure(made, retries=2)

        assert isinstance(error, BridgeUnavailable)
        assert (error.code, error.attempts, server.calls) == ("UNAVAILABLE", 3, 3)
        assert str(error) == f"{server.target} did not answer (3 attempts); last error: UNAVAILABLE: no route to DICT"


async def test_what_no_database_can_hold_is_left_out_of_the_details():
    async with (
        bridge(status(grpc.StatusCode.INTERNAL, "no\0 route\x1b to café")) as server,
        client(server.target) as made,
    ):
        error = await failure(made)

        assert str(error) == f"{server.target} failed: INTERNAL: no route to café"


async def test_without_retries_one_call_is_made():
    async with bridge(status(grpc.StatusCode.UNAVAILABLE)) as server, client(server.target) as made:
        error = await failure(made, retries=0)

        assert (error.attempts, server.calls) == (1, 1)
        assert "(1 attempt)" in str(error)


async def test_each_attempt_has_a_deadline():
    async with bridge(never) as server, client(server.target, attempt_seconds=0.1) as made:
        error = await failure(made, retries=1)

        assert isinstance(error, BridgeUnavailable)
        assert (error.code, error.attempts) == ("DEADLINE_EXCEEDED", 2)
        assert "did not answer within 0.1s (2 attempts)" in str(error)


async def test_all_attempts_together_keep_the_time_limit():
    async with bridge(never) as server:
        async with client(server.target, attempt_seconds=0.2) as made:
            many = await failure(made, retries=10, time_limit_seconds=0.5)
        async with client(server.target, attempt_seconds=60) as made:
            async with asyncio.timeout(30):
                one = await failure(made, retries=10, time_limit_seconds=0.5)

        assert many.attempts < 4
        assert one.attempts == 1


async def test_an_unreachable_bridge_is_unavailable():
    async with bridge(good) as server:
        target = server.target
    async with client(target) as made:
        error = await failure(made, retries=1)

        assert (error.code, error.attempts) == ("UNAVAILABLE", 2)


async def test_a_bridge_that_comes_back_is_found_within_seconds():
    async with bridge(good) as server:
        target = server.target
    async with client(target) as made:
        await failure(made)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "bacen.dict.v2.RateLimitService",
                    {"GetRateLimitPolicies": grpc.unary_unary_rpc_method_handler(Bridge(good).serve)},
                ),
            )
        )
        server.add_insecure_port(target)
        await server.start()
        try:
            fetched = await made.fetch(PARTICIPANT, retries=10, time_limit_seconds=30)
        finally:
            await server.stop(None)

        assert fetched.response.correlation_id == "c-1"


@pytest.mark.parametrize("name", ["UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "INVALID_ARGUMENT"])
async def test_a_refusal_is_not_retried(name: str):
    async with bridge(status(grpc.StatusCode[name], "who are you")) as server, client(server.target) as made:
        error = await failure(made, retries=3)

        assert isinstance(error, BridgeRefused)
        assert (error.code, error.attempts, server.calls) == (name, 1, 1)
        assert str(error) == f"{server.target} refused the call: {name}: who are you"


@pytest.mark.parametrize("name", ["INTERNAL", "UNKNOWN", "ABORTED"])
async def test_any_other_status_is_an_error_with_its_name_and_not_retried(name: str):
    async with bridge(status(grpc.StatusCode[name])) as server, client(server.target) as made:
        error = await failure(made, retries=3)

        assert (error.code, error.attempts, server.calls) == (name, 1, 1)


async def test_a_server_that_is_no_bridge_is_a_refusal():
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with client(f"127.0.0.1:{port}") as made:
            error = await failure(made, retries=3)
    finally:
        await server.stop(None)

    assert isinstance(error, BridgeRefused)
    assert error.code == "UNIMPLEMENTED"


async def test_dicts_429_is_an_exhausted_budget_and_not_retried():
    async with bridge(status(grpc.StatusCode.RESOURCE_EXHAUSTED, "429")) as server, client(server.target) as made:
        error = await failure(made, retries=3)

        assert isinstance(error, BridgeBudgetExhausted)
        assert (error.code, error.attempts, server.calls) == ("RESOURCE_EXHAUSTED", 1, 1)


async def test_an_answer_over_4_mb_is_a_bad_answer_and_no_429():
    async def too_long(_call: int, _context: grpc.aio.ServicerContext) -> bytes:
        return b"x" * 4_194_305

    async with bridge(too_long) as server, client(server.target) as made:
        error = await failure(made, retries=3)

        assert isinstance(error, BadAnswer)
        assert (error.code, error.attempts, server.calls) == ("BAD_ANSWER", 1, 1)
        assert [defect.reason for defect in error.defects] == ["too_long"]


async def test_an_answer_that_cannot_be_decoded_is_a_bad_answer():
    async def garbage(_call: int, _context: grpc.aio.ServicerContext) -> bytes:
        return b"\xff\xff\xff"

    async with bridge(garbage) as server, client(server.target) as made:
        error = await failure(made, retries=3)

        assert isinstance(error, BadAnswer)
        assert (error.code, error.attempts, server.calls) == ("BAD_ANSWER", 1, 1)
        assert [defect.reason for defect in error.defects] == ["undecodable"]


async def test_the_trace_is_carried_to_the_bridge_on_every_attempt():
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async with bridge(good_after(1, grpc.StatusCode.UNAVAILABLE)) as server, client(server.target) as made:
        with telemetry.carrying(traceparent):
            await made.fetch(PARTICIPANT, retries=1, time_limit_seconds=30)

        assert [metadata["traceparent"] for metadata in server.metadata] == [traceparent] * 2


async def test_a_fetch_is_one_span_and_the_bridge_is_told_of_it(monkeypatch: pytest.MonkeyPatch):
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("test"))

    async with bridge(good_after(1, grpc.StatusCode.UNAVAILABLE)) as server, client(server.target) as made:
        await made.fetch(PARTICIPANT, retries=1, time_limit_seconds=30)

        (span,) = spans.get_finished_spans()
        assert span.name == "bridge.GetRateLimitPolicies"
        assert dict(span.attributes or {}) == {"participant": PARTICIPANT}
        span_id = format_span_id(span.get_span_context().span_id)
        assert [metadata["traceparent"].split("-")[2] for metadata in server.metadata] == [span_id] * 2


async def test_without_a_trace_none_is_sent():
    async with bridge(good) as server, client(server.target) as made:
        await made.fetch(PARTICIPANT, retries=0, time_limit_seconds=30)

        assert "traceparent" not in server.metadata[0]


async def test_participants_share_one_connection():
    async with bridge(good) as server, client(server.target) as made:
        await asyncio.gather(*(made.fetch(PARTICIPANT, retries=0, time_limit_seconds=30) for _ in range(50)))

        assert len(set(server.peers)) == 1


async def test_a_connection_that_went_silent_is_replaced():
    """As after a failover: the old host answers nothing, not even that the connection is gone."""
    relay = await SilentRelay.start()
    async with bridge(good) as server, client(f"127.0.0.1:{relay.port}", attempt_seconds=2) as made:
        relay.target = server.target
        await made.fetch(PARTICIPANT, retries=0, time_limit_seconds=30)
        relay.silence()

        fetched = await made.fetch(PARTICIPANT, retries=1, time_limit_seconds=30)

        assert fetched.attempts == 2
        assert len(set(server.peers)) == 2
    await relay.stop()


async def test_a_name_is_followed_to_where_it_moves():
    port = free_port()
    async with (
        name_server() as names,
        client(f"dns://127.0.0.1:{names.port}/bridge.test:{port}", failing_seconds=0) as made,
    ):
        assert "bridge.test" in str(await failure(made))

        for address in ("127.0.0.1", "127.0.0.2"):
            async with bridge(good, address=f"{address}:{port}") as server:
                names.address = address
                # The first call may still go where the name led before.
                await made.fetch(PARTICIPANT, retries=1, time_limit_seconds=30)
                assert server.calls == 1


async def test_a_slow_answer_to_one_participant_does_not_cost_the_others_their_connection():
    async def answer(call: int, context: grpc.aio.ServicerContext) -> bytes:
        return await (never if call == 1 else good)(call, context)

    async with bridge(answer) as server, client(server.target, attempt_seconds=2) as made:
        slow = asyncio.create_task(failure(made))
        await server.called.wait()
        await made.fetch(PARTICIPANT, retries=0, time_limit_seconds=30)
        await slow
        await made.fetch(PARTICIPANT, retries=0, time_limit_seconds=30)

        assert len(set(server.peers)) == 1


async def test_a_cancelled_fetch_leaves_the_client_usable():
    async def answer(call: int, context: grpc.aio.ServicerContext) -> bytes:
        return await (never if call == 1 else good)(call, context)

    async with bridge(answer) as server, client(server.target) as made:
        fetching = asyncio.create_task(made.fetch(PARTICIPANT, retries=0, time_limit_seconds=30))
        await server.called.wait()
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching

        assert (await made.fetch(PARTICIPANT, retries=0, time_limit_seconds=30)).attempts == 1


async def test_certificates_that_cannot_be_used_are_told_when_the_client_is_made():
    settings = BridgeSettings(target="localhost:1", tls=TlsSettings(ca_file="/nowhere/ca.pem"))

    with pytest.raises(ConfigurationError, match=r"/nowhere/ca\.pem cannot be read"):
        BridgeClient(settings)


async def test_plaintext_must_be_asked_for():
    async with bridge(good) as server:
        settings = BridgeSettings(target=server.target)
        made = BridgeClient(settings)
        error = await failure(made)
        await made.close()

        assert error.code == "UNAVAILABLE"
        assert msgspec.structs.asdict(settings)["insecure"] is False


class SilentRelay:
    """Passes TCP on, until it is told to let the connections that are open go silent without closing them."""

    def __init__(self) -> None:
        self.target = ""
        self.port = 0
        self._open: list[Connection] = []
        self._server: asyncio.Server | None = None

    @classmethod
    async def start(cls) -> SilentRelay:
        relay = cls()
        relay._server = await asyncio.start_server(relay._accept, "127.0.0.1", 0)
        relay.port = relay._server.sockets[0].getsockname()[1]
        return relay

    def silence(self) -> None:
        for connection in self._open:
            connection.silent = True

    async def stop(self) -> None:
        assert self._server is not None
        for connection in self._open:
            await connection.close()
        self._server.close()
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.target.rpartition(":")
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        self._open.append(Connection((reader, writer), (upstream_reader, upstream_writer)))


class Connection:
    def __init__(self, *sides: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        (client_reader, client_writer), (server_reader, server_writer) = sides
        self.silent = False
        self._writers = (client_writer, server_writer)
        self._tasks = [
            asyncio.create_task(self._pass(client_reader, server_writer)),
            asyncio.create_task(self._pass(server_reader, client_writer)),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if not self.silent:
                writer.write(data)
                await writer.drain()

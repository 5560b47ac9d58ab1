"""Addresses that are let through really work, and `config check` refuses in the very words of the start."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from typing import TYPE_CHECKING

import grpc
import pulsar
import pytest

from exporter import telemetry
from exporter.addresses import check_grpc_target, check_otlp_endpoint, check_pulsar_url, grpc_listen_address
from exporter.grpc_tls import CHANNEL_OPTIONS
from exporter.relay.producer import silent
from tests.support.bridge import GOOD
from tests.support.certificates import Authority
from tests.support.collector import Collector
from tests.support.program import ROOT, RULES

if TYPE_CHECKING:
    from pathlib import Path

WAIT_SECONDS = 30


class Answers(grpc.GenericRpcHandler):
    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def answer(_request: bytes, _context: object) -> bytes:
            return GOOD

        return grpc.unary_unary_rpc_method_handler(answer)  # type: ignore[arg-type]


async def listening(address: str) -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Answers(),))
    port = server.add_insecure_port(grpc_listen_address("feed.listen_address", address))
    await server.start()
    return server, port


async def called(target: str) -> bytes:
    check_grpc_target("bridge.target", target)
    async with grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        return await channel.unary_unary("/a/b")(b"", timeout=WAIT_SECONDS)


@pytest.mark.parametrize(
    "target",
    [
        "127.0.0.1:{}",
        "localhost:{}",
        "[::1]:{}",
        "0.0.0.0:{}",
        "dns:localhost:{}",
        "dns:/localhost:{}",
        "dns:///localhost:{}",
        "DNS:///localhost:{}",
        "dns:///[::1]:{}",
        "dns://127.0.0.1:53/localhost:{}",
        "ipv4:127.0.0.1:{}",
        "ipv4:///127.0.0.1:{}",
        "ipv4:127.0.0.1:1,127.0.0.1:{}",
        "ipv6:[::1]:{}",
        "ipv6:%5B::1%5D:{}",
    ],
)
async def test_grpc_reaches_what_is_let_through(target: str):
    server, port = await listening(":0")

    assert await called(target.format(port)) == GOOD
    await server.stop(None)


async def test_grpc_reaches_a_unix_socket(tmp_path: Path):
    socket = tmp_path / "bridge.sock"
    server, _ = await listening(f"unix:{socket}")

    assert await called(f"unix:{socket}") == GOOD
    assert await called(f"unix://{socket}") == GOOD
    await server.stop(None)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "[::1]:0", "[::]:0", ":0"])
async def test_grpc_listens_on_what_is_let_through(address: str):
    server, port = await listening(address)

    assert await called(f"localhost:{port}" if address != "[::1]:0" else f"[::1]:{port}") == GOOD
    await server.stop(None)


@pytest.mark.parametrize(
    "url",
    [
        "pulsar://broker:6650",
        "pulsar://broker",
        "pulsar://broker/",
        "pulsar+ssl://broker:6651",
        "pulsar+ssl://one:6651,two:6651",
        "pulsar://one,two:6650",
        "pulsar://10.0.0.1:6650",
    ],
)
def test_pulsars_client_takes_what_is_let_through(url: str):
    check_pulsar_url("pulsar.service_url", url)

    pulsar.Client(url, logger=silent()).close()


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:{}", "http://localhost:{}/", "localhost:{}", "dns:///localhost:{}"]
)
def test_traces_reach_an_endpoint_that_is_let_through(endpoint: str):
    collector = Collector()
    endpoint = endpoint.format(collector.port)
    check_otlp_endpoint("tracing.otlp_endpoint", endpoint)

    finish = telemetry.configure_tracing(endpoint, 1.0, role="exporter", version="0")
    with telemetry.span("poll"):
        pass
    finish()

    assert [span.name for span in collector.spans] == ["poll"]
    collector.stop()


def settings(**changed: str) -> dict[str, str]:
    """Enough for every role to start, of what is not there."""
    return {
        "PARTICIPANTS": "12345678",
        "BRIDGE__TARGET": "127.0.0.1:1",
        "BRIDGE__INSECURE": "true",
        "FEED__TARGETS": "127.0.0.1:1",
        "FEED__INSECURE": "true",
        "DATABASE__DSN": "host=127.0.0.1 port=1",
        "RULES__FILES": str(RULES),
        "WEB__LISTEN_ADDRESS": "127.0.0.1:0",
    } | changed


async def said_by(*words: str, **changed: str) -> tuple[int | None, str]:
    """Returns the exit code of a command, and what it said on stderr that is no log line."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DICT_RATE_LIMIT_")}
    environment |= {f"DICT_RATE_LIMIT_{name}": value for name, value in settings(**changed).items() if value}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", *words),
        env=environment,
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WAIT_SECONDS):
        _, stderr = await process.communicate()
    lines = [line for line in stderr.decode().splitlines() if not line.startswith("ts=")]
    return process.returncode, "\n".join(lines)


async def checked_and_started(role: str, *flags: str, **changed: str) -> tuple[str, str]:
    """Returns what `config check` and the start refuse it with."""
    (checked, check), (started, start) = await asyncio.gather(
        said_by("config", "check", "--role", role, *flags, **changed), said_by(role, *flags, **changed)
    )
    assert (checked, started) == (2, 2)
    return check, start


@pytest.mark.parametrize(
    ("role", "variable", "value", "line"),
    [
        ("run", "BRIDGE__TARGET", "https://bridge:50051", "bridge.target: 'https://bridge:50051' is not a gRPC target"),
        ("reconciler", "FEED__TARGETS", "a:1,b:0", "feed.targets: 'b:0' has no port from 1 to 65535"),
        ("exporter", "FEED__LISTEN_ADDRESS", "0.0.0.0:70000", "feed.listen_address: '0.0.0.0:70000' has no port"),
        ("exporter", "WEB__LISTEN_ADDRESS", "http://a:1", "web.listen_address: 'http://a:1' is a URL"),
        ("run", "PULSAR__SERVICE_URL", "http://u:hush@b", "pulsar.service_url: 'http://********@b' is the address of"),
        ("run", "PULSAR__TOPIC", "non-persistent://a/b/c", "pulsar.topic: 'non-persistent://a/b/c' keeps nothing"),
        (
            "exporter",
            "TRACING__OTLP_ENDPOINT",
            "http://c:4318/v1/traces",
            "tracing.otlp_endpoint: 'http://c:4318/v1/tra",
        ),
    ],
)
async def test_a_wrong_address_is_refused_by_check_and_start_in_the_same_line(
    role: str, variable: str, value: str, line: str
):
    check, start = await checked_and_started(role, **{variable: value})

    assert check == start
    assert check.startswith(f"dict-rate-limit: DICT_RATE_LIMIT_{variable}: {line}")
    assert len(check.splitlines()) == 1


@pytest.mark.parametrize(
    ("role", "changed", "line"),
    [
        ("run", {"DATABASE__DSN": "mysql://u:hush@h/d"}, "database.dsn: begins with mysql://; write postgresql://"),
        ("reconciler", {"DATABASE__DSN": ""}, "database.dsn: not set"),
        ("exporter", {"PARTICIPANTS": ""}, "participants: not set"),
        ("exporter", {"BRIDGE__INSECURE": "false", "BRIDGE__TLS__CA_FILE": "/no.pem"}, "bridge.tls.ca_file: /no.pem"),
        ("run", {"BRIDGE__TLS__CA_FILE": "/no.pem"}, "bridge.insecure: true is plaintext, and tls is configured"),
        ("reconciler", {"FEED__INSECURE": "false", "FEED__TLS__CA_FILE": "/no.pem"}, "feed.tls.ca_file: /no.pem"),
        (
            "exporter",
            {"FEED__INSECURE": "false", "FEED__LISTEN_ADDRESS": ":1"},
            "feed.tls.cert_file: not set; ",
        ),
        ("run", {"WEB__CONFIG_FILE": "/no.yml"}, "web.config_file: /no.yml cannot be read: No such file or directory"),
    ],
)
async def test_what_a_role_needs_is_asked_for_by_check_and_start_in_the_same_line(
    role: str, changed: dict[str, str], line: str
):
    check, start = await checked_and_started(role, **changed)

    assert check == start
    assert re.match(rf"dict-rate-limit: (DICT_RATE_LIMIT_\w+: )?{re.escape(line)}", check)
    assert len(check.splitlines()) == 1
    assert "hush" not in check


WHOLE = """\
participants: ["12345678"]
bridge: {target: "127.0.0.1:1", insecure: true}
database: {dsn: "postgresql://u:hush@127.0.0.1:1/d"}
rules: {files: [rules/dict-rate-limit.yml]}
web: {listen_address: "127.0.0.1:0"}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ('["12345678"]', "[12345678]", ["1: participants[0]: is a number; write an ISPB"]),
        ("target:", "targt:", ["2: bridge.targt: no such key; did you mean", " bridge.target: not set"]),
        (
            "insecure: true",
            "insecure: 'yes', retries: 99",
            ["2: bridge.insecure: 'yes' is", "2: bridge.retries"],
        ),
        ("rules/dict-rate-limit.yml", "nothing/*.yml", ["4: rules.files: 'nothing/*.yml' matches no file"]),
        ('"127.0.0.1:0"', '"999.0.0.1:0"', ["5: web.listen_address: '999.0.0.1:0' is not an address"]),
        ("web:", "web: {}\nweb:", ["6: web: is given twice, first in line 5; keep one"]),
        (
            "web: {",
            "web: {config_file: tests, ",
            ["5: web.config_file: tests cannot be read: it is"],
        ),
        ("rules/dict-rate-limit.yml", "config.example.yml", ["config.example.yml:"]),
        ("rules/dict-rate-limit.yml", "rules", ["rules: "]),
    ],
)
async def test_a_wrong_file_is_refused_by_check_and_start_in_the_same_lines(
    tmp_path: Path, right: str, wrong: str, said: list[str]
):
    file = tmp_path / "config.yml"
    file.write_text(WHOLE.replace(right, wrong))
    unset = dict.fromkeys(settings(), "")
    flags = ("--config.file", str(file))

    (checked, check), (started, start) = await asyncio.gather(
        said_by("config", "check", "--role", "run", *flags, **unset), said_by("run", *flags, **unset)
    )

    assert (checked, started) == (2, 2)
    assert check == start
    lines = [line.removeprefix("dict-rate-limit: ").removeprefix(f"{file}:") for line in check.splitlines()]
    assert len(lines) == len(said) or said == ["config.example.yml:"]  # a line for each of its keys
    assert all(line.startswith(beginning) for line, beginning in zip(lines, said, strict=False))
    assert "hush" not in check


async def test_a_wrong_flag_is_named_as_one():
    check, start = await checked_and_started("exporter", "--web.listen-address", "0.0.0.0:99999")

    assert check == start
    assert check.startswith("dict-rate-limit: --web.listen-address: web.listen_address: '0.0.0.0:99999' has no port")


async def test_a_wrong_value_of_the_file_is_named_with_the_file(tmp_path: Path):
    file = tmp_path / "config.yml"
    file.write_text("pulsar: {topic: alerts}\npol: {}\n")

    check, start = await checked_and_started("exporter", "--config.file", str(file))

    assert check == start
    assert len(check.splitlines()) == 2
    assert check.startswith(f"dict-rate-limit: {file}:2: pol: no such key; did you mean poll?\n")
    check = check.splitlines()[1]
    assert check.startswith(f"dict-rate-limit: {file}:1: pulsar.topic: 'alerts' is not the full name of a topic")


@pytest.mark.parametrize(
    ("command", "flag"), [("bridge-simulator", "--listen-address"), ("demo", "--web.listen-address")]
)
async def test_addresses_of_the_tools_are_checked_too(command: str, flag: str):
    code, line = await said_by(command, flag, "http://127.0.0.1:1")

    assert code == 2
    assert line.startswith(f"dict-rate-limit: {flag}: 'http://127.0.0.1:1' is a URL; write ")


async def test_a_role_is_refused_nothing_that_only_another_needs():
    code, line = await said_by(
        "config", "check", "--role", "exporter", DATABASE__DSN="mysql://host/d", FEED__TARGETS=""
    )

    assert (code, line) == (0, "")


async def test_what_has_no_effect_is_said_by_check(tmp_path: Path):
    pair = Authority(tmp_path).issue("server")
    file = tmp_path / "web.yml"
    file.write_text(
        f"tls_server_config: {{cert_file: {pair.cert_file}, key_file: {pair.key_file}}}\n"
        "http_server_config: {http2: true}\n"
    )

    code, line = await said_by("config", "check", WEB__CONFIG_FILE=str(file))

    assert code == 0
    assert line.startswith(f"dict-rate-limit: {file}: http_server_config.http2: true has no effect")

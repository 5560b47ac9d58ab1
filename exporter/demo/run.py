"""The whole system on this machine, from wheels alone, gone without trace when it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import tempfile
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exporter.config import (
    BridgeSettings,
    DatabaseSettings,
    PollSettings,
    PulsarSettings,
    RulesSettings,
    Secret,
    Settings,
    WebSettings,
)
from exporter.demo.screen import Screen
from exporter.demo.servers import require_wheels, start_broker, start_postgres
from exporter.durations import Duration
from exporter.errors import ConfigurationError, DictRateLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import View

TOPIC: Final = "persistent://lb-conn/dict/rate-limit-alerts"
POLL_INTERVAL_SECONDS: Final = 10.0
"""What POLICIES_LIST can pay for: it refills six tokens a minute."""

SHOWN_EVERY_SECONDS: Final = 5.0
"""How often there is a line where no table can be redrawn."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What the service needs is there, and where."""

    settings: Settings
    dsn: str
    service_url: str
    bridge: str


async def run_demo(*, duration_seconds: float | None, scenario: str, participants: int, listen_address: str) -> None:
    """Runs until SIGINT, SIGTERM, SIGHUP, the end of ``duration_seconds``, or of whoever reads what it says.

    Raises DictRateLimitError.
    """
    _check(scenario, listen_address)
    from exporter.service import run_both

    stop = _stop_on_signals()
    logging.getLogger("exporter.alerts").setLevel(logging.CRITICAL)  # events tell of them
    async with AsyncExitStack() as stack:
        screen = Screen(left=stop.set)
        setting_up = asyncio.create_task(_set_up(scenario, participants, listen_address, screen, stack))
        if not await _ended_before(stop, setting_up):
            return
        ready = setting_up.result()

        running: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        service = asyncio.create_task(run_both(ready.settings, stop=stop, started=running.set_result))
        consumer = asyncio.create_task(_print_events(ready.service_url, screen))
        parts = [asyncio.create_task(stop.wait()), service, consumer]
        try:
            await asyncio.wait([running, *parts], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                screen.addresses(running.result().addresses[0], ready.dsn, ready.service_url, ready.bridge)
                parts.append(asyncio.create_task(_show(screen, running.result().views)))
                await asyncio.wait(parts, timeout=duration_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # What it needs is there until it has ended.
            stop.set()
            await asyncio.wait([service])
        await service
        await _end(*parts)
        screen.close()


def _check(scenario: str, listen_address: str) -> None:
    """Raises ConfigurationError for what would be refused when everything else has started."""
    from exporter.simulator.scenario import load
    from exporter.web.server.listeners import listen

    require_wheels()
    load(scenario)
    for one in listen(listen_address, "--web.listen-address"):
        one.close()


async def _set_up(
    scenario: str, participants: int, listen_address: str, screen: Screen, stack: AsyncExitStack
) -> Ready:
    """Starts what the service needs; the stack ends it."""
    from exporter.simulator.server import start as start_simulator
    from exporter.store import migrations

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dict-demo-")))
    screen.say("starting PostgreSQL ...")
    dsn = await start_postgres(folder / "pg", stack)
    screen.say("starting the broker ...")
    service_url = await start_broker(folder / "broker", stack)
    screen.say("migrating the database ...")
    await migrations.up(dsn)
    simulator = await start_simulator(scenario, address="127.0.0.1:0", participants=participants, seed=1)
    stack.push_async_callback(simulator.stop)
    bridge = f"127.0.0.1:{simulator.port}"
    settings = _settings(simulator.participants, bridge, dsn, service_url, listen_address)
    return Ready(settings, dsn, service_url, bridge)


async def _ended_before(stop: asyncio.Event, work: asyncio.Task[Any]) -> bool:
    """Returns whether ``work`` ended before ``stop`` was asked for; otherwise it is cancelled."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        with suppress(DictRateLimitError):  # a part may have heard Ctrl-C first
            await _end(work)
    await _end(stopping)
    return not stop.is_set()


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
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
    here = Path(__file__).parents[1]
    for folder in (here / "_rules", here.parent / "rules"):
        if folder.is_dir():
            return folder / "*.yml"
    raise ConfigurationError("the shipped rules are not installed: reinstall dict-rate-limit-exporter")


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
        await asyncio.sleep(1 if screen.live else SHOWN_EVERY_SECONDS)

"""The whole system on this machine, from wheels alone; it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from typing import Any, Final

from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import View
from exporter.config.secrets import Secret
from exporter.config.settings import (
    BridgeSettings,
    DatabaseSettings,
    PollSettings,
    PulsarSettings,
    RulesSettings,
    Settings,
    WebSettings,
)
from exporter.demo.dips import DipWatch
from exporter.demo.screen import Screen
from exporter.demo.servers import require_wheels, start_broker, start_postgres
from exporter.durations import Duration
from exporter.errors import ConfigurationError, DictRateLimitError

TOPIC: Final = "persistent://lb-conn/dict/rate-limit-alerts"
POLL_INTERVAL_SECONDS: Final = 10.0
"""What POLICIES_LIST can pay for: it refills six tokens a minute."""

LOWEST_WINDOW_SECONDS: Final = 5.0
"""As long as a level is shown after it: an alert is to fire and to resolve within half a minute."""

LOOK_EVERY_SECONDS: Final = 0.1
"""More often than one bucket is read."""

LINE_EVERY_SECONDS: Final = 5.0
"""How often a line is printed where no table can be redrawn."""


async def run_demo(*, duration_seconds: float | None, scenario: str, participants: int, listen_address: str) -> None:
    """Runs until SIGINT, SIGTERM or SIGHUP, until the reader of stdout leaves, or for ``duration_seconds``.

    Raises DictRateLimitError.
    """
    _check(scenario, listen_address)
    from exporter.service import run_both

    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    logging.getLogger("exporter.alerts").setLevel(logging.CRITICAL)  # the screen has their events
    async with AsyncExitStack() as stack:
        screen = Screen(on_reader_left=stop.set)
        stopping = asyncio.create_task(stop.wait())
        setting_up = asyncio.create_task(_set_up(scenario, participants, listen_address, screen, stack))
        await asyncio.wait([setting_up, stopping], return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            with suppress(DictRateLimitError):  # Ctrl-C may have reached a child process first
                await _cancel(setting_up)
            return
        settings = setting_up.result()

        running: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        service = asyncio.create_task(run_both(settings, stop=stop, started=running.set_result))
        tasks = [stopping, service, asyncio.create_task(_print_events(settings, screen))]
        try:
            await asyncio.wait([running, *tasks], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                screen.addresses(running.result().addresses[0], settings)
                views = running.result().views
                tasks += [asyncio.create_task(_print(screen, views)) for _print in (_print_buckets, _print_dips)]
                await asyncio.wait(tasks, timeout=duration_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # The service ends before the servers that it needs.
            stop.set()
            await asyncio.wait([service])
        await service
        await _cancel(*tasks)
        screen.close()


def _check(scenario: str, listen_address: str) -> None:
    """Raises ConfigurationError, before anything is started, for what would be refused later."""
    from exporter.simulator.scenario import load
    from exporter.web.server.server import open_listeners

    require_wheels()
    load(scenario)
    for listener in open_listeners(listen_address, "--web.listen-address"):
        listener.close()


async def _set_up(
    scenario: str, participants: int, listen_address: str, screen: Screen, stack: AsyncExitStack
) -> Settings:
    """Starts the servers that the service needs, which end with ``stack``; returns the service's settings."""
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
    return Settings(
        participants=tuple(simulator.participants),
        bridge=BridgeSettings(target=f"127.0.0.1:{simulator.port}", insecure=True, timeout=Duration(2)),
        poll=PollSettings(interval=Duration(POLL_INTERVAL_SECONDS), lowest_window=Duration(LOWEST_WINDOW_SECONDS)),
        rules=RulesSettings(files=(str(_rules_files()),)),
        database=DatabaseSettings(dsn=Secret(dsn)),
        pulsar=PulsarSettings(service_url=service_url, topic=TOPIC),
        web=WebSettings(listen_address=listen_address, enable_lifecycle=True),
    )


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancels the tasks; raises the first error of one that had failed."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


def _rules_files() -> Path:
    here = Path(__file__).parents[1]
    for folder in (here / "_rules", here.parent / "rules"):
        if folder.is_dir():
            return folder / "*.yml"
    raise ConfigurationError("the shipped rules are not installed: reinstall dict-rate-limit-exporter")


async def _print_events(settings: Settings, screen: Screen) -> None:
    """Consumes the relay's events, as any other consumer would."""
    import pulsar

    from exporter.relay.producer import silent

    with (
        closing(await asyncio.to_thread(pulsar.Client, settings.pulsar.service_url, logger=silent())) as client,
        closing(await asyncio.to_thread(client.subscribe, TOPIC, "demo")) as consumer,
    ):
        while True:
            try:
                message = await asyncio.to_thread(consumer.receive, 300)
            except pulsar.Timeout:
                continue
            screen.event(json.loads(message.data()))
            consumer.acknowledge(message)


async def _print_buckets(screen: Screen, views: Callable[[], Mapping[Ispb, View]]) -> None:
    while True:
        screen.buckets(views())
        await asyncio.sleep(1 if screen.live else LINE_EVERY_SECONDS)


async def _print_dips(screen: Screen, views: Callable[[], Mapping[Ispb, View]]) -> None:
    watches: defaultdict[Ispb, DipWatch] = defaultdict(DipWatch)
    while True:
        for participant, view in views().items():
            for bucket in watches[participant].follow(view):
                screen.dip(participant, bucket)
        await asyncio.sleep(LOOK_EVERY_SECONDS)

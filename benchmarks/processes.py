"""What benchmarks start: the program, and the demo's PostgreSQL and broker."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

ROOT = Path(__file__).parents[1]
_PORTS = iter(range(20_000, 32_000))
RULES = ROOT / "rules" / "dict-rate-limit.yml"


@contextmanager
def server(start: Callable[[Path, AsyncExitStack], Coroutine[Any, Any, str]]) -> Iterator[str]:
    """Yields the address of what ``start`` (of `exporter.demo.servers`) starts; then ends it and deletes its data."""
    stack = AsyncExitStack()
    with TemporaryDirectory(prefix="dict-rate-limit-bench-") as folder:
        try:
            yield asyncio.run(start(Path(folder) / "server", stack))
        finally:
            asyncio.run(stack.aclose())


@contextmanager
def program(*command: str, settings: Mapping[str, object] | None = None) -> Iterator[psutil.Popen]:
    """Yields a process of ``dict-rate-limit COMMAND``. Settings are its environment, without the prefix."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DICT_RATE_LIMIT_")}
    environment |= {f"DICT_RATE_LIMIT_{name}": str(value) for name, value in (settings or {}).items()}
    # Standard output is the figures'.
    process = psutil.Popen([sys.executable, "-m", "exporter", *command], env=environment, cwd=ROOT, stdout=sys.stderr)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except psutil.TimeoutExpired:
            process.kill()


def wait_until(condition: Callable[[], bool], process: psutil.Popen, within_seconds: float) -> None:
    deadline = time.monotonic() + within_seconds
    while not condition():
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{process.args}: waited {within_seconds} s in vain"
        time.sleep(0.05)


def free_address() -> str:
    """Returns an address to listen on later: of a port that the system does not give to a client meanwhile."""
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return f"127.0.0.1:{port}"
    raise RuntimeError("no port is free")


def listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), 1):
        return True
    return False

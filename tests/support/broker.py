"""Brokers for tests: Apache Pulsar where there is one, else the wheel ``pulsar-lite``.

The broker is the first that is there: the address in ``TEST_PULSAR_URL`` (with
``TEST_PULSAR_ADMIN_URL``), a container where a Docker engine answers, a real
Pulsar where Maven and a JDK of at least 21 are, the wheel. With ``CI=true`` it is
the real Pulsar, or the test fails.

Pulsar is fetched from Maven Central once, into the user's cache folder; ``python -m tests.support.broker`` does so
ahead of the tests.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.servers import announce, withdraw

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VERSION = "4.0.8"
CACHE = Path.home() / ".cache" / "dict-rate-limit" / "pulsar"
NEWEST_TOO_OLD_JDK = 20
START_SECONDS = 240.0

_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
_ARTIFACT = f"org.apache.pulsar:pulsar-server-distribution:{VERSION}:tar.gz:bin"
_topics = itertools.count(1)


class Broker(Protocol):
    """A broker that runs. ``url`` is its service URL."""

    @property
    def url(self) -> str: ...

    def topic(self) -> str:
        """Returns a topic that nobody has used."""
        ...


class GivenBroker:
    """A broker that somebody else runs; ``admin_url`` is None where it isn't known."""

    def __init__(self, url: str, admin_url: str | None = None) -> None:
        self.url = url
        self.admin_url = admin_url

    def topic(self) -> str:
        return f"persistent://public/default/test-{os.getpid()}-{next(_topics)}"


class _Process:
    """A server process on 127.0.0.1 with a data directory of its own. ``remove`` ends it and deletes its data."""

    port: int

    def __init__(self, prefix: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"dict-rate-limit-{prefix}-"))
        self.process: subprocess.Popen[bytes] | None = None
        self._log = self.directory / "output"

    @property
    def url(self) -> str:
        return f"pulsar://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it, and waits until it answers. Does nothing where it runs."""
        if self.process is not None:
            return
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command(),
                cwd=self.directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        announce(type(self).__name__, f"127.0.0.1:{self.port}", self._log)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(errors="replace")[-4000:]
                self.kill()
                raise RuntimeError(f"{self._command()[0]} did not start:\n{said}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Asks it to end, and waits."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it without warning."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Lets it neither hear nor speak; its connections stay."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        withdraw(self._log)
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(how)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _environment(self) -> dict[str, str]:
        return dict(os.environ)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


class PulsarLite(_Process):
    """The wheel's broker: speaks the protocol; knows neither deduplication nor authentication."""

    def __init__(self) -> None:
        super().__init__("pulsar-lite")
        self.port = free_port()

    def topic(self) -> str:
        return f"persistent://public/default/test-{next(_topics)}"

    def _command(self) -> list[str]:
        from pulsar_lite.binary_finder import find_pulsar_lite_binary

        database = str(self.directory / "broker.db")
        return [find_pulsar_lite_binary(), "--addr", f"127.0.0.1:{self.port}", "--db-path", database]


class PulsarServer(_Process):
    """A real Apache Pulsar, standalone, from the distribution in ``home``, run by the JDK ``java_home``.

    ``settings`` are added to its ``standalone.conf``; ``token`` is the administrator's, where it asks for one;
    ``tls_port`` the one that ``settings`` give it for TLS.
    Who connects to ``wired_port`` is told to use ``wire_port``, where a test may put a `Wire` in between.
    """

    def __init__(
        self,
        home: Path,
        java_home: Path,
        settings: Mapping[str, str] | None = None,
        token: str | None = None,
        tls_port: int | None = None,
    ) -> None:
        super().__init__("pulsar")
        self._home = home
        self._java_home = java_home
        self._was_killed = False
        self._token = token
        self.port, self._web_port, self._bookie_port = free_port(), free_port(), free_port()
        self.wire_port, self.wired_port = free_port(), free_port()
        listeners = {"plain": self.url, "wired": f"pulsar://127.0.0.1:{self.wire_port}"}
        if tls_port is not None:
            listeners["plain"] += f",plain:pulsar+ssl://127.0.0.1:{tls_port}"
        own = {
            "brokerServicePort": str(self.port),
            "webServicePort": str(self._web_port),
            "bindAddress": "127.0.0.1",
            "bindAddresses": f"wired:pulsar://127.0.0.1:{self.wired_port}",
            "advertisedListeners": ",".join(f"{name}:{url}" for name, url in listeners.items()),
            "internalListenerName": "plain",
            "numIOThreads": "2",
            "numHttpServerThreads": "4",
            "numExecutorThreadPoolSize": "2",
            "numCacheExecutorThreadPoolSize": "2",
            "metadataStoreOperationTimeoutSeconds": "30",
            "brokerShutdownTimeoutMs": "1000",
            "journalSyncData": "false",
            **(settings or {}),
        }
        text = (home / "conf" / "standalone.conf").read_text("utf-8")
        text = re.sub(rf"^({'|'.join(own)})=.*$", "", text, flags=re.MULTILINE)
        text += "\n" + "\n".join(f"{name}={value}" for name, value in own.items()) + "\n"
        self._conf = self.directory / "standalone.conf"
        self._conf.write_text(text, "utf-8")

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self._web_port}"

    def kill(self) -> None:
        self._was_killed = True
        super().kill()

    def restore(self) -> None:
        """Lets it run as at first; it forgets everything where it was killed.

        A broker that was killed may fight, when it is back, with its former self for the registration of its store:
        that keeps a core busy for as long as it runs.
        """
        if self._was_killed:
            self.kill()
            for name in ("metadata", "bookkeeper"):
                shutil.rmtree(self.directory / name)
            self._was_killed = False
        self.start()

    def topic(self, *, deduplication: bool = False) -> str:
        """Returns a topic of its own in a namespace of its own, which keeps what nobody has read."""
        namespace = f"public/test-{next(_topics)}"
        self.admin("PUT", f"namespaces/{namespace}")
        self.admin("POST", f"namespaces/{namespace}/retention", {"retentionTimeInMinutes": -1, "retentionSizeInMB": -1})
        self.deduplication(namespace, enabled=deduplication)
        return f"persistent://{namespace}/alerts"

    def deduplication(self, namespace: str, *, enabled: bool = True) -> None:
        """Makes the broker drop what a producer sends twice to the namespace's topics, or not."""
        self.admin("POST", f"namespaces/{namespace}/deduplication", enabled)

    def admin(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Calls the admin API below ``/admin/v2/``. Raises httpx.HTTPStatusError."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        answer = httpx.request(method, f"{self.admin_url}/admin/v2/{path}", json=body, headers=headers, timeout=30)
        answer.raise_for_status()
        return answer

    def _command(self) -> list[str]:
        return [
            str(self._home / "bin" / "pulsar"),
            "standalone",
            "-nfw",
            "-nss",
            f"--config={self._conf}",
            f"--metadata-dir={self.directory / 'metadata'}",
            f"--bookkeeper-dir={self.directory / 'bookkeeper'}",
            f"--bookkeeper-port={self._bookie_port}",
        ]

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {
            "JAVA_HOME": str(self._java_home),
            # It unpacks a library there, and leaves it where it is killed.
            "PULSAR_MEM": f"-Xms128m -Xmx384m -XX:MaxDirectMemorySize=384m -Djava.io.tmpdir={self.directory}",
            "PULSAR_GC": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
            "PULSAR_GC_LOG": "-Xlog:disable",
            "PULSAR_LOG_DIR": str(self.directory / "logs"),
            "PULSAR_LOG_LEVEL": "warn",
        }

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self.admin("GET", "brokers/health").is_success
        return False


def java_home() -> Path | None:
    """Returns the newest JDK's folder on this machine; None where none is new enough."""
    found: dict[Path, int] = {}
    folders = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    folders += sorted(Path("/usr/lib/jvm").glob("*"))
    if on_path := shutil.which("java"):
        folders.append(Path(on_path).resolve().parents[1])
    for folder in folders:
        java = folder / "bin" / "java"
        if java.exists() and folder.resolve() not in found:
            said = subprocess.run([java, "-version"], check=False, capture_output=True, text=True).stderr
            if version := re.search(r'version "(\d+)', said):
                found[folder.resolve()] = int(version[1])
    newest = max(found, key=lambda folder: found[folder], default=None)
    return newest if newest is not None and found[newest] > NEWEST_TOO_OLD_JDK else None


def pulsar_home() -> Path:
    """Returns the unpacked distribution's folder, fetched by Maven where it isn't there yet."""
    home = CACHE / f"apache-pulsar-{VERSION}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.is_dir():
            with tempfile.TemporaryDirectory(dir=CACHE) as folder:
                maven = ["mvn", "-q", "-B", _COPY, f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={folder}"]
                subprocess.run(maven, check=True, cwd=folder, timeout=900)
                (archive,) = Path(folder).glob("*.tar.gz")
                subprocess.run(["tar", "-xzf", archive.name], check=True, cwd=folder)
                (Path(folder) / home.name).rename(home)
    return home


def why_no_pulsar() -> str | None:
    """Returns what a real Pulsar needs and is not here; None: all is."""
    if java_home() is None:
        return "a real Pulsar needs a JDK of at least 21"
    if not (CACHE / f"apache-pulsar-{VERSION}").is_dir() and shutil.which("mvn") is None:
        return "a real Pulsar needs Maven, to fetch it once"
    return None


def new_pulsar(
    settings: Mapping[str, str] | None = None, token: str | None = None, tls_port: int | None = None
) -> PulsarServer:
    """Returns a real Pulsar of the test's own, started; skips the test where there can't be one, except in CI."""
    missing = why_no_pulsar()
    jdk = java_home()
    if missing is not None or jdk is None:
        _skip(missing or "no JDK")
    server = PulsarServer(pulsar_home(), jdk, settings, token, tls_port)
    try:
        server.start()
    except BaseException:
        server.remove()
        raise
    return server


@pytest.fixture(scope="session")
def shared_pulsar() -> Iterator[PulsarServer]:
    server = new_pulsar()
    yield server
    server.remove()


@pytest.fixture
def pulsar_server(shared_pulsar: PulsarServer) -> Iterator[PulsarServer]:
    """A real Pulsar, which the test may stop and start. Skips where there can't be one; fails then in CI."""
    yield shared_pulsar
    shared_pulsar.restore()


@pytest.fixture
def pulsar_lite() -> Iterator[PulsarLite]:
    """The wheel's broker, this test's own, which it may stop and start."""
    server = PulsarLite()
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A broker to send to, not to stop."""
    if _in_ci():
        yield request.getfixturevalue("shared_pulsar")
    elif url := os.environ.get("TEST_PULSAR_URL"):
        yield GivenBroker(url, os.environ.get("TEST_PULSAR_ADMIN_URL"))
    elif _docker_answers():
        with _container() as given:
            yield given
    elif why_no_pulsar() is None:
        yield request.getfixturevalue("shared_pulsar")
    elif find_spec("pulsar_lite") is not None:
        server = PulsarLite()
        server.start()
        yield server
        server.remove()
    else:
        pytest.fail("no broker: set TEST_PULSAR_URL, start Docker, install Maven and a JDK, or install pulsar-lite")


def _in_ci() -> bool:
    return os.environ.get("CI") == "true"


def _skip(reason: str) -> None:
    if _in_ci():
        pytest.fail(f"{reason}; CI must have it")
    pytest.skip(reason)


def _docker_answers() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run([docker, "info"], check=False, capture_output=True, timeout=5).returncode == 0
    return False


@contextlib.contextmanager
def _container() -> Iterator[GivenBroker]:
    from testcontainers.core.container import DockerContainer

    # The broker tells clients its own address, so its port is the same inside and outside.
    port, web_port = free_port(), free_port()
    settings = {"brokerServicePort": port, "webServicePort": web_port}
    edits = " ".join(f"-e 's/^{name}=.*/{name}={value}/'" for name, value in settings.items())
    command = f"sed -i {edits} conf/standalone.conf && exec bin/pulsar standalone -nfw -nss -a 127.0.0.1"
    container = DockerContainer(f"apachepulsar/pulsar:{VERSION}").with_command(["sh", "-c", command])
    with container.with_bind_ports(port, port).with_bind_ports(web_port, web_port):
        given = GivenBroker(f"pulsar://127.0.0.1:{port}", f"http://127.0.0.1:{web_port}")
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{given.admin_url}/admin/v2/brokers/health", timeout=30).is_success:
                    break
            if time.monotonic() > deadline:
                pytest.fail("the Pulsar container did not become healthy")
            time.sleep(0.2)
        yield given


if __name__ == "__main__":
    pulsar_home()

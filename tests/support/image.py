"""The container image: built from the Dockerfile and run by Buildah, where no engine is.

The image that the Dockerfile starts from is Debian's own Python under that name, made once into the user's cache
folder. Buildah keeps everything else in memory, in namespaces that end with the tests: no container, image, mount
or process outlives them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.support import servers
from tests.support.program import ROOT, Program
from tests.support.prometheus import debian

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Sequence

DOCKERFILE = (ROOT / "Dockerfile").read_text()
BASE, PYTHON, SUITE = re.findall(r"^FROM (\w+:(\d+\.\d+)[\d.]*-slim-(\w+))", DOCKERFILE, re.MULTILINE)[0]
"""The name of the image to start from, its Python's version, and its Debian's name."""

CACHE = Path.home() / ".cache" / "dict-rate-limit" / "image-base"

_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_PIP_AND_UV = re.compile(r"(PIP|UV)_\w*(INDEX|CERT|HOST|PROXY|TIMEOUT|CONFIG)\w*|UV_NATIVE_TLS|SSL_CERT_FILE")
"""What may tell pip and uv where packages come from. Proxies are passed on by Buildah itself."""

_DEBIAN = (
    "mmdebstrap",
    "--quiet",
    "--mode=root",
    "--variant=apt",
    "--include=python3,python3-pip,ca-certificates",
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "locale", "man")),
    "--dpkgopt=path-exclude=/usr/lib/python3*/EXTERNALLY-MANAGED",  # `pip install` works, as in the real one
    '--customize-hook=ln -s /usr/bin/python3 "$1/usr/local/bin/"',
    SUITE,
)
_BASE_DOCKERFILE = """\
FROM scratch
ADD debian.tar /
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
"""

_SETTINGS = "/mnt"
"""Where the build finds the files that these settings name: a folder of the base, so that none is added for them."""

_ROOM = Path("/var/lib/containers")
"""Buildah's own folder; in the namespaces it is a file system in memory. Deleting many files is slow on some disks."""

_HOLDER = f"""
mkdir -p {_ROOM} && mount -t tmpfs -o mode=755 tmpfs {_ROOM} && mkdir {_ROOM}/network
printf '[network]\\nnetwork_config_dir = "{_ROOM}/network"\\n' >{_ROOM}/containers.conf
echo ready && exec cat
"""


class Buildah:
    """Buildah in namespaces of its own: they and all that runs in them end when the holder's pipe closes."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            pytest.skip("an image is built by root")
        self._buildah = debian("buildah")
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", _HOLDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"

    def close(self) -> None:
        self._holder.communicate()

    def command(self, *words: str) -> list[str]:
        """Returns ``words`` as a command in the namespaces, where the working directory is the root."""
        namespaces = f"/proc/{self._holder.pid}/ns"
        return [
            *("nsenter", f"--mount={namespaces}/mnt", f"--pid={namespaces}/pid_for_children"),
            *("env", f"TMPDIR={_ROOM}", f"CONTAINERS_CONF={_ROOM}/containers.conf", "BUILDAH_ISOLATION=chroot"),
            *words,
        ]

    def buildah(self, *arguments: str, images: Path | None = None) -> list[str]:
        """Returns the command with these arguments; ``images`` is a storage whose images it finds, too."""
        return self.command(
            self._buildah,
            "--storage-driver=vfs",
            f"--root={_ROOM}/storage",
            f"--runroot={_ROOM}/run",
            *([f"--storage-opt=vfs.imagestore={images}"] if images else []),
            *arguments,
        )


def done(command: Sequence[str], **options: Any) -> str:
    """Runs ``command`` to its end. Returns what it said to standard output; fails with all that it said."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, **options)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def base() -> Path:
    """Returns a storage of Buildah's with the image that ours starts from, made where it isn't there yet."""
    recipe = repr((BASE, _DEBIAN, _BASE_DOCKERFILE, platform.machine()))
    storage = CACHE / hashlib.sha256(recipe.encode()).hexdigest()[:16]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not storage.is_dir():
            debian("mmdebstrap")
            with contextlib.closing(Buildah()) as buildah, tempfile.TemporaryDirectory(dir=CACHE) as folder:
                Path(folder, "Dockerfile").write_text(_BASE_DOCKERFILE)
                done(buildah.command(*_DEBIAN, f"{folder}/debian.tar"))
                done(buildah.buildah("build", f"--tag={BASE}", folder))
                done(buildah.command("cp", "-a", str(_ROOM / "storage"), folder))
                Path(folder, "storage").rename(storage)
    return storage


class Image:
    """The image in a container: its file system, user, working directory, environment and entry point.

    ``added`` are the paths that are in it and not in the image that it starts from.
    """

    def __init__(self, buildah: Buildah, images: Path) -> None:
        self._buildah = buildah
        self._images = images
        self.config: dict[str, Any] = json.loads(self._do("inspect", "--type=image", "image"))["OCIv1"]["config"]
        self._do("from", "--pull-never", "--name=container", "image")
        (base_layer,) = (images / "vfs" / "dir").iterdir()
        self.added = self._files(self._do("mount", "container").strip()) - self._files(base_layer)

    def _do(self, *arguments: str) -> str:
        return done(self._buildah.buildah(*arguments, images=self._images))

    def command(self, *arguments: str, **settings: object) -> list[str]:
        """Returns the command that starts the program; without ``arguments`` it gets the image's own."""
        program = [*self.config["Entrypoint"], *(arguments or self.config["Cmd"])]
        environment = [f"--env=DICT_RATE_LIMIT_{name}={value}" for name, value in settings.items()]
        return self.process(*program, options=environment)

    def process(self, *words: str, options: Sequence[str] = ()) -> list[str]:
        """Returns the command that runs ``words`` in the container."""
        return self._buildah.buildah("run", *options, "container", "--", *words, images=self._images)

    def run(self, *arguments: str, **settings: object) -> str:
        """Runs the program to its end; fails where it does. Returns what it said."""
        return done(self.command(*arguments, **settings))

    def inside(self) -> dict[str, Any]:
        """Returns what its user finds in the container: see `tests/support/inside.py`."""
        with (ROOT / "tests/support/inside.py").open() as script:
            return json.loads(done(self.process("python", "-"), stdin=script))

    def _files(self, root: str | Path) -> set[str]:
        return set(done(self._buildah.command("find", str(root), "-printf", "/%P\\n")).splitlines())


class Contained(Program):
    """What the image starts where it is told no command."""

    def __init__(self, image: Image, **settings: object) -> None:
        super().__init__("image", **settings)
        self.settings.pop("RULES__FILES")  # the image has its own
        self._image = image

    def start(self) -> Contained:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._image.command(**self.settings), stdout=log, stderr=log)
        servers.announce("the image", f"127.0.0.1:{self.port}", self._log)
        return self

    def _signal(self, number: signal.Signals) -> None:
        """To the container's first process, as an engine does: Buildah would kill it at a SIGTERM of its own."""
        assert self.process is not None
        with contextlib.suppress(psutil.NoSuchProcess, StopIteration):
            process = psutil.Process(self.process.pid)
            while process.name() == "nsenter" or "buildah" in process.name():
                process = next(iter(process.children()))
            process.send_signal(number)


@contextlib.contextmanager
def built(folder: Path) -> Iterator[Image]:
    """Builds the image in ``folder`` from a checkout made there under a strict umask, and lends it."""
    checkout, settings = folder / "checkout", folder / "settings"
    checkout.mkdir()
    settings.mkdir()
    files = [name for name in done(["git", "ls-files"], cwd=ROOT).splitlines() if (ROOT / name).exists()]
    done(["cp", "--parents", "--no-preserve=mode", *files, str(checkout)], cwd=ROOT, umask=0o077)
    told = _package_settings(settings)
    # Only the build stage learns where this machine gets its packages: nothing of it is in the image.
    stage = "".join(f"\nARG {name}" for name in told)
    (checkout / "Dockerfile").write_text(re.sub(r"^FROM .*", rf"\g<0>{stage}", DOCKERFILE, count=1, flags=re.MULTILINE))
    arguments = [f"--build-arg={name}" for name in told]
    arguments += [f"--volume={settings}:{_SETTINGS}:ro", f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro"]
    images = base()
    with contextlib.closing(Buildah()) as buildah:
        build = buildah.buildah("build", "--pull-never", *arguments, "--tag=image", str(checkout), images=images)
        done(build, env=os.environ | told)
        yield Image(buildah, images)


def _package_settings(folder: Path) -> dict[str, str]:
    """Returns what tells pip and uv on this machine where packages come from; the files it names are in ``folder``."""
    told = {name: value for name, value in os.environ.items() if _PIP_AND_UV.fullmatch(name)}
    for name, file in (
        ("PIP_CONFIG_FILE", "~/.config/pip/pip.conf"),
        ("PIP_CONFIG_FILE", "/etc/pip.conf"),
        ("UV_CONFIG_FILE", "~/.config/uv/uv.toml"),
        ("UV_CONFIG_FILE", "/etc/uv/uv.toml"),
    ):
        if Path(file).expanduser().is_file():
            told.setdefault(name, str(Path(file).expanduser()))
    for name, value in told.items():
        if Path(value).is_file():
            shutil.copyfile(value, folder / name)
            told[name] = f"{_SETTINGS}/{name}"
    return told


if __name__ == "__main__":
    base()

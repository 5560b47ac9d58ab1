"""What the deployment files say, for tests that hold it against the program."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import yaml

from exporter.cli.main import cli
from exporter.config.configuration import ENVIRONMENT_PREFIX, load_settings
from tests.support.program import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from exporter.config.settings import Settings

COMPOSE_FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KUBERNETES = ROOT / "deploy/kubernetes/base"
UNIT = ROOT / "deploy/systemd/dict-rate-limit.service"

PROGRAM = [name for name, service in SERVICES.items() if "build" in service and "entrypoint" not in service]
"""Services that run the image's own entry point."""


def understood(arguments: Sequence[str]) -> str:
    """Returns the command that the real command line makes of ``arguments``. Raises click.ClickException."""
    group, left, name = cli, list(arguments), []
    while True:
        with group.make_context("dict-rate-limit", left) as context:
            if not hasattr(group, "commands"):
                return " ".join(name)
            word, command, left = group.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        assert word is not None
        name.append(word)
        group = command


def expanded(value: str, environment: Mapping[str, str] | None = None) -> str:
    """Returns ``value`` as Compose makes it: ``${NAME:-default}`` replaced."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: (environment or {}).get(m[1]) or m[2], value)


def environment_of(service: str) -> dict[str, str]:
    """Returns a service's environment, without an ``.env`` file."""
    return {name: expanded(str(value)) for name, value in SERVICES[service].get("environment", {}).items()}


def settings_of(environment: Mapping[str, str], folder: Path, config: Path | None = None) -> Settings:
    """Returns the settings that the program makes of it; files of secrets are looked for in ``folder``."""
    own = {name: value for name, value in environment.items() if name.startswith(ENVIRONMENT_PREFIX)}
    for name, value in own.items():
        if name.endswith("_FILE"):
            secret = folder / value.strip("/").replace("/", "-")
            if not secret.exists():
                secret.write_text("secret")
            own[name] = str(secret)
    return load_settings(config, own)


def health_check(service: str) -> list[str]:
    return SERVICES[service]["healthcheck"]["test"]


def mounts_of(service: str) -> dict[str, str]:
    """Returns what each bind mount shows: path inside, by path in the repository."""
    binds = [volume.split(":") for volume in SERVICES[service].get("volumes", []) if volume.startswith(".")]
    assert all(mode == ["ro"] for _, _, *mode in binds), service
    return {source.removeprefix("./"): target for source, target, *_ in binds}


def volumes_of(service: str) -> Iterator[str]:
    """Yields the named volumes that it mounts."""
    yield from (v.split(":")[0] for v in SERVICES[service].get("volumes", []) if not v.startswith("."))


def manifests() -> list[dict[str, Any]]:
    """Returns every Kubernetes object of the base, as the files have it."""
    files = sorted(KUBERNETES.glob("*.yaml"))
    return [
        manifest
        for file in files
        if file.name != "kustomization.yaml"
        for manifest in yaml.safe_load_all(file.read_text())
    ]


def unit_lines() -> list[tuple[str, str]]:
    """Returns key and value of every setting of the systemd unit, in order."""
    lines = [line for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith(("#", "["))]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


def unit_commands() -> list[list[str]]:
    """Returns the program's arguments in each command of the systemd unit."""
    commands = [shlex.split(value) for key, value in unit_lines() if key in ("ExecStartPre", "ExecStart")]
    assert all(command[0] == "/opt/dict-rate-limit/bin/dict-rate-limit" for command in commands)
    return [command[1:] for command in commands]

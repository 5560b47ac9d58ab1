"""The state of a process and of its dependencies, for probes and people."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something outside that this process needs: the Bridge, an exporter's feed, the database, the broker."""

    name: str
    ok: bool
    message: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests should be sent here, and the state of the dependencies."""

    ready: bool
    dependencies: list[Dependency]

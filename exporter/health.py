"""How a process and what it depends on are, for probes and people."""

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
    """Whether requests should come here, and how the dependencies are."""

    ready: bool
    dependencies: list[Dependency]

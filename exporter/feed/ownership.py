"""One exporter per participant."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

log = logging.getLogger(__name__)


class Claims:
    """Which feed carries which participant, of at most so many."""

    def __init__(self, refused: Callable[[str], None], *, most: int = 10_000) -> None:
        self._owner: dict[str, str] = {}
        self._refused = refused
        self._most = most
        self._told: set[tuple[str, str]] = set()
        self._told_full: set[str] = set()

    def claim(self, participant: str, target: str) -> bool:
        """Returns whether ``target`` may carry ``participant``; a refusal is counted, and logged once."""
        if participant not in self._owner and len(self._owner) >= self._most:
            self._refused(target)
            if target not in self._told_full:
                self._told_full.add(target)
                log.error(
                    "feeds carry more participants than limits.participants allows: those beyond are refused",
                    extra={"allowed": self._most, "refused": participant, "target": target},
                )
            return False
        owner = self._owner.setdefault(participant, target)
        if owner == target:
            return True
        self._refused(target)
        if (participant, target) not in self._told:
            self._told.add((participant, target))
            log.error(
                "two exporters poll one participant: the second is refused; let one of them poll it",
                extra={"participant": participant, "kept": owner, "refused": target},
            )
        return False

    def taken(self, participant: str, target: str) -> bool:
        """Returns whether another than ``target`` carries ``participant``."""
        return self._owner.get(participant, target) != target

    def release(self, target: str, keep: Collection[str] = ()) -> None:
        """Another may carry what ``target`` carried, but for ``keep``."""
        for participant in [p for p, owner in self._owner.items() if owner == target and p not in keep]:
            del self._owner[participant]
        self._told = {(participant, refused) for participant, refused in self._told if participant in self._owner}

"""One exporter per participant."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

log = logging.getLogger(__name__)


class Claims:
    """Which feed carries which participant."""

    def __init__(self, refused: Callable[[str], None]) -> None:
        self._owner: dict[str, str] = {}
        self._refused = refused
        self._told: set[tuple[str, str]] = set()

    def claim(self, participant: str, target: str) -> bool:
        """Returns whether ``target`` may carry ``participant``; a refusal is counted, and logged once."""
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

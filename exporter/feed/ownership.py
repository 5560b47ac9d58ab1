"""One exporter per participant."""

from __future__ import annotations

import logging
from collections.abc import Collection

from prometheus_client import Counter

log = logging.getLogger(__name__)


class Ownership:
    """Which exporter (by target) owns which participant, of at most ``most`` participants.

    Refusals are counted in ``refused`` by target, and logged once.
    """

    def __init__(self, refused: Counter | None = None, *, most: int = 10_000) -> None:
        self._owner: dict[str, str] = {}
        self._refused = refused
        self._most = most
        self._logged: set[tuple[str, str]] = set()
        self._logged_full: set[str] = set()

    def acquire(self, participant: str, target: str) -> bool:
        """Returns whether ``target`` owns the participant from now on, or did already."""
        owner = self._owner.get(participant)
        if owner is None and len(self._owner) < self._most:
            owner = self._owner[participant] = target
        if owner == target:
            return True
        if self._refused is not None:
            self._refused.labels(target).inc()
        if owner is None and target not in self._logged_full:
            self._logged_full.add(target)
            log.error(
                "feeds carry more participants than limits.participants allows: those beyond are refused",
                extra={"allowed": self._most, "refused": participant, "target": target},
            )
        if owner is not None and (participant, target) not in self._logged:
            self._logged.add((participant, target))
            log.error(
                "two exporters poll one participant, the second is refused: let one of them poll it",
                extra={"participant": participant, "kept": owner, "refused": target},
            )
        return False

    def may_own(self, participant: str, target: str) -> bool:
        """Returns whether ``target`` owns the participant, or no exporter does."""
        return self._owner.get(participant, target) == target

    def release(self, target: str, keep: Collection[str] = ()) -> None:
        """Lets others own what ``target`` owns, but for ``keep``."""
        self._owner = {p: owner for p, owner in self._owner.items() if owner != target or p in keep}
        self._logged = {(participant, refused) for participant, refused in self._logged if participant in self._owner}

"""What is told of answers, where the one before did not have it: defects, which are counted, and differences."""

from __future__ import annotations

import logging
from collections.abc import Collection

from exporter.bridge.defect import Defect
from exporter.buckets.bucket import Ispb, PolicyName, Snapshot
from exporter.buckets.catalog import difference
from exporter.metrics import Metrics

log = logging.getLogger(__name__)


class DefectLog:
    """Follows one participant's answers to one kind of call."""

    def __init__(self, participant: Ispb, metrics: Metrics) -> None:
        self._participant = participant
        self._counter = metrics.polls.answer_defects
        self._last: frozenset[tuple[str, str | None]] = frozenset()

    def note(self, defects: Collection[Defect]) -> None:
        """Takes in an answer's defects."""
        logged, self._last = self._last, frozenset((defect.reason, defect.policy) for defect in defects)
        for defect in defects:
            self._counter.labels(self._participant, defect.reason).inc()
            if (defect.reason, defect.policy) not in logged:
                fields = {"participant": self._participant, "policy": defect.policy, "reason": defect.reason}
                log.warning("defect in the Bridge's answer", extra={**fields, "value": defect.value})


class DifferenceLog:
    """Logs how one participant's policies differ from the published ones, each difference once."""

    def __init__(self, participant: Ispb) -> None:
        self._participant = participant
        self._logged: dict[PolicyName, str | None] = {}

    def note(self, snapshot: Snapshot) -> None:
        """Takes in a whole answer."""
        logged = self._logged
        self._logged = {b.policy: difference(b, snapshot.category) or logged.get(b.policy) for b in snapshot.buckets}
        for policy, differs in self._logged.items():
            if differs != logged.get(policy):
                log.info(
                    "policy differs from DICT's published table, the Bridge's answer is used",
                    extra={"participant": self._participant, "policy": policy, "difference": differs},
                )

"""Why single buckets are not read: on `/metrics` for each participant, in the log once for all of them."""

from __future__ import annotations

import logging
from typing import Final

from prometheus_client import Gauge

from exporter.buckets.bucket import Ispb
from exporter.poller.reads import NO_POLICIES_READ, RESERVE_TOO_LARGE

log = logging.getLogger(__name__)

_WHY: Final = {
    NO_POLICIES_READ: "the Bridge's answers hold no POLICIES_READ, which pays for reads",
    RESERVE_TOO_LARGE: "poll.reads.reserve leaves nothing of POLICIES_READ",
}
"""What is in the way, beside a refusal by the Bridge."""


class ReadsOff:
    """The codes by which reads are off, of all participants of a process: a gRPC status, or what is in the way."""

    def __init__(self, metric: Gauge) -> None:
        self._metric = metric
        self._codes: dict[Ispb, str] = {}

    @property
    def why(self) -> str | None:
        """A phrase that says why; None: reads are on."""
        codes = sorted(set(self._codes.values()))
        refusals = [code for code in codes if code not in _WHY]
        whys = [f"the Bridge refuses them: {', '.join(refusals)}"] if refusals else []
        return "; ".join(whys + [_WHY[code] for code in codes if code in _WHY]) or None

    def of(self, participant: Ispb) -> str | None:
        return self._codes.get(participant)

    def set(self, participant: Ispb, code: str | None, error: str | None = None) -> None:
        """Notes that reads of a participant are off by ``code``; None: they are on."""
        if self._codes.get(participant) == code:
            return
        is_first = code not in self._codes.values()
        self._metric.remove_by_labels({"participant": participant})
        self._codes.pop(participant, None)
        if code is None:
            if not self._codes:
                log.info("single buckets are read again between polls", extra={"participant": participant})
            return
        self._metric.labels(participant, code).set(1)
        self._codes[participant] = code
        if is_first:
            fields = {"participant": participant, "code": code, "error": error or _WHY.get(code)}
            log.warning("single buckets are not read between polls", extra=fields)

    def clear(self) -> None:
        """Nothing is polled any more."""
        self._codes.clear()
        self._metric.clear()

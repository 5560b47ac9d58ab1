"""Why single buckets are not read: on `/metrics` for each participant, in the log once for all of them."""

from __future__ import annotations

import logging
from typing import Final

from prometheus_client import Gauge

from exporter.buckets.bucket import Ispb
from exporter.poller.reads import NO_POLICIES_READ, RESERVE_TOO_LARGE
from exporter.telemetry import Reminder

log = logging.getLogger(__name__)

LOGGED_EVERY_SECONDS: Final = 3600.0
"""One reason is logged once in this time, however often it comes and goes, of however many participants."""

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
        self._reminders: dict[str, Reminder] = {}

    def __len__(self) -> int:
        """How many participants' reads are off."""
        return len(self._codes)

    @property
    def why(self) -> str | None:
        """A phrase that says why some are off; None: none are."""
        codes = sorted(set(self._codes.values()))
        refusals = [code for code in codes if code not in _WHY]
        whys = [f"the Bridge refuses them: {', '.join(refusals)}"] if refusals else []
        return "; ".join(whys + [_WHY[code] for code in codes if code in _WHY]) or None

    def set(self, participant: Ispb, code: str | None, error: str | None = None) -> None:
        """Notes that reads of a participant are off by ``code``; None: they are on."""
        if self._codes.get(participant) == code:
            return
        self._metric.remove_by_labels({"participant": participant})
        self._codes.pop(participant, None)
        fields = {"participant": participant, "code": code, "error": error or _WHY.get(code or "")}
        if code is not None:
            self._metric.labels(participant, code).set(1)
            self._codes[participant] = code
            if self._is_due(code):
                log.warning("single buckets are not read between polls", extra=fields)
        elif not self._codes and self._is_due("on"):
            log.info("single buckets are read again between polls", extra=fields)

    def clear(self) -> None:
        """Nothing is polled any more."""
        self._codes.clear()
        self._metric.clear()

    def _is_due(self, code: str) -> bool:
        """Returns whether this was not logged of late: answers may alternate."""
        return self._reminders.setdefault(code, Reminder(LOGGED_EVERY_SECONDS)).is_due(code)

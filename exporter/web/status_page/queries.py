"""Queries of the pages, as their addresses have them, and the levels of tokens that they name. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, get_args
from urllib.parse import urlencode

from exporter.buckets.bucket import CRITICAL_LEFT_PERCENT, WARNING_LEFT_PERCENT
from exporter.buckets.observation import BucketObservation
from exporter.clock import in_utc

Level = Literal["ok", "warning", "critical", "empty"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)

PER_PAGE: Final = 50
PAGES: Final = 200
"""The most pages of past alerts; beyond them a filter or a shorter time helps."""

DEFAULT_SPAN: Final = timedelta(days=7)
SEVERITIES: Final = ("critical", "warning", "info")
STATES: Final = ("firing", "pending", "resolved")
SORTS: Final = ("began", "duration", "severity", "alert", "participant", "policy", "state", "reason")

_ISPB_DIGITS: Final = 8
_FILTERS: Final = ("participant", "policy", "alert", "severity", "state")
_ISO: Final = "%Y-%m-%dT%H:%M:%SZ"


def level_of(observed: BucketObservation) -> Level:
    """Returns how low a bucket was of late, as the shipped rules judge it."""
    if observed.lowest_tokens <= 0:
        return "empty"
    left_percent = observed.lowest_left_percent
    if left_percent <= CRITICAL_LEFT_PERCENT:
        return "critical"
    return "warning" if left_percent <= WARNING_LEFT_PERCENT else "ok"


class InvalidQuery(ValueError):
    """A query that makes no sense; its text is a sentence for the reader of the page."""


@dataclass(frozen=True, slots=True)
class StatusQuery:
    """Which buckets and alerts the status page shows.

    ``participant`` is the beginning of an ISPB; ``level`` the least bad one; ``alerts`` is ``some`` or ``all``.
    """

    participant: str = ""
    policy: str = ""
    level: Level = "ok"
    alerts: str = "some"
    page: int = 1

    @classmethod
    def parse(cls, parameters: Mapping[str, str]) -> StatusQuery:
        """Reads the parameters of an address; what makes no sense is left out."""
        page, level = parameters.get("page", "1"), parameters.get("level")
        return cls(
            participant=parameters.get("participant", "").strip(),
            policy=parameters.get("policy", "").strip(),
            level=next((one for one in LEVELS if one == level), "ok"),
            alerts="all" if parameters.get("alerts") == "all" else "some",
            page=max(1, min(int(page[:7]), 1_000_000)) if page.isascii() and page.isdigit() else 1,
        )

    def matches(self, participant: str, policy: str | None) -> bool:
        return participant.startswith(self.participant) and (not self.policy or policy == self.policy)

    def link(self, **changes: Any) -> str:
        """Returns the same query with changes; its first page, unless they name one."""
        parameters = asdict(self) | {"page": 1} | changes
        defaults = {"level": "ok", "alerts": "some", "page": 1}
        return _link({name: value for name, value in parameters.items() if value != defaults.get(name)})


@dataclass(frozen=True, slots=True)
class Range:
    """A length of time in ``steps``; a table of it has a row for every ``steps_per_row``."""

    name: str
    label: str
    step_seconds: int
    steps: int
    steps_per_row: int

    @property
    def step(self) -> timedelta:
        return timedelta(seconds=self.step_seconds)

    @property
    def length(self) -> timedelta:
        return self.step * self.steps


RANGES: Final = {
    "1h": Range("1h", "1 hour", 5, 720, 60),
    "6h": Range("6h", "6 hours", 30, 720, 60),
    "24h": Range("24h", "24 hours", 120, 720, 30),
    "7d": Range("7d", "7 days", 900, 672, 48),
    "30d": Range("30d", "30 days", 3_600, 720, 24),
}


def range_around(seconds: float) -> Range:
    """Returns the shortest range that shows something of this length whole, and what was before and after it."""
    return next((r for r in RANGES.values() if r.length >= timedelta(seconds=3 * seconds)), RANGES["30d"])


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Which time of a bucket's history: a range, and the time in its middle; None: it ends now."""

    range: Range = RANGES["6h"]
    at: datetime | None = None

    @classmethod
    def parse(cls, parameters: Mapping[str, str], now: datetime) -> HistoryQuery:
        """Raises InvalidQuery."""
        name = parameters.get("range", "") or "6h"
        _require("range", name, RANGES)
        at = _time(parameters, "at")
        if at is not None and at > now:
            raise InvalidQuery(f"at ({in_utc(at)} UTC) lies ahead: it is {in_utc(now)} UTC.")
        return cls(RANGES[name], at)

    def window(self, now: datetime) -> tuple[datetime, datetime]:
        """Returns beginning and end, both whole steps since 1970."""
        middle = now if self.at is None else min(self.at + self.range.length / 2, now)
        seconds = self.range.step_seconds
        until = datetime.fromtimestamp((int(middle.timestamp()) // seconds + 1) * seconds, UTC)
        return until - self.range.length, until

    def link(self, **changes: Any) -> str:
        """Returns the same query with changes."""
        at = changes.get("at", self.at)
        return _link({"range": changes.get("range", self.range.name), "at": at and f"{at:{_ISO}}"})


@dataclass(frozen=True, slots=True)
class AlertsQuery:
    """Which past alerts. ``participant`` is the beginning of an ISPB; empty: any. ``until`` None: now."""

    since: datetime
    until: datetime | None = None
    participant: str = ""
    policy: str = ""
    alert: str = ""
    severity: str = ""
    state: str = ""
    sort: str = "-began"
    page: int = 1

    @classmethod
    def parse(cls, parameters: Mapping[str, str], now: datetime) -> AlertsQuery:
        """Raises InvalidQuery."""
        filters = {name: parameters.get(name, "").strip() for name in _FILTERS}
        participant = filters["participant"]
        if participant and not is_ispb(participant.ljust(_ISPB_DIGITS, "0")):
            raise InvalidQuery(f"participant={participant!r} is not the beginning of an ISPB: up to 8 digits.")
        if "\0" in filters["policy"] + filters["alert"]:
            raise InvalidQuery("policy and alert are names: they hold no NUL.")
        _require("severity", filters["severity"], SEVERITIES)
        _require("state", filters["state"], STATES)
        sort = parameters.get("sort", "") or "-began"
        _require("sort", sort.removeprefix("-"), SORTS)
        until = _time(parameters, "to")
        end = until or now
        since = _time(parameters, "from") or end - DEFAULT_SPAN
        if since >= end:
            raise InvalidQuery(f"from ({since:%Y-%m-%d %H:%M} UTC) must be before to ({end:%Y-%m-%d %H:%M} UTC).")
        page = parameters.get("page", "") or "1"
        if not (page.isascii() and page.isdigit() and len(page) < 6 and 1 <= int(page) <= PAGES):
            raise InvalidQuery(f"page={page!r} is no number from 1 to {PAGES}; a filter or a shorter time helps.")
        return cls(since=since, until=until, sort=sort, page=int(page), **filters)

    def link(self, **changes: Any) -> str:
        """Returns the same query with changes; its first page, unless they name one."""
        query = replace(self, **{"page": 1} | changes) if changes else self
        parameters = {name: getattr(query, name) for name in _FILTERS} | {
            "from": f"{query.since:{_ISO}}",
            "to": query.until and f"{query.until:{_ISO}}",
            "sort": query.sort != "-began" and query.sort,
            "page": query.page > 1 and query.page,
        }
        return _link(parameters)


def _link(parameters: Mapping[str, object]) -> str:
    return "?" + urlencode({name: value for name, value in parameters.items() if value})


def is_ispb(text: str) -> bool:
    return len(text) == _ISPB_DIGITS and text.isascii() and text.isdigit()


def _time(parameters: Mapping[str, str], name: str) -> datetime | None:
    """Returns a time, ISO 8601, UTC unless it says otherwise; None: it is not named. Raises InvalidQuery."""
    text = parameters.get(name)
    if not text:
        return None
    try:
        # A + is a blank once a browser has read the address.
        at = datetime.fromisoformat(text.strip().replace(" ", "+" if "T" in text else "T", 1))
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidQuery(f"{name}={text!r} is no time: write 2026-03-10T12:00:00Z.") from None
    if not 1970 <= at.year <= 9000:
        raise InvalidQuery(f"{name}={text!r} is no time from 1970 to 9000.")
    return at


def _require(name: str, value: str, allowed: Collection[str]) -> None:
    if value and value not in allowed:
        raise InvalidQuery(f"{name}={value!r} is none of {', '.join(allowed)}.")

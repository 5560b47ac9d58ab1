"""What readers of the pages about the past ask for. Pure; what makes no sense is refused in a sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

PER_PAGE: Final = 50
PAGES: Final = 200
"""So many pages of past alerts are turned at most; beyond, a filter finds what is looked for."""

_ISPB_DIGITS: Final = 8

DEFAULT_SPAN: Final = timedelta(days=7)
SEVERITIES: Final = ("critical", "warning", "info")
STATES: Final = ("firing", "pending", "resolved")
SORTS: Final = ("began", "duration", "severity", "alert", "participant", "policy", "state", "reason")


class NotUnderstood(ValueError):
    """A query that makes no sense; its text is a sentence for who asked."""


@dataclass(frozen=True, slots=True)
class Range:
    """A length of time in ``steps`` of ``seconds``; a table of it has a row for every ``row`` steps."""

    name: str
    words: str
    seconds: int
    steps: int
    row: int

    @property
    def step(self) -> timedelta:
        return timedelta(seconds=self.seconds)

    @property
    def length(self) -> timedelta:
        return self.step * self.steps


RANGES: Final = {
    made.name: made
    for made in (
        Range("1h", "1 hour", 5, 720, 60),
        Range("6h", "6 hours", 30, 720, 60),
        Range("24h", "24 hours", 120, 720, 30),
        Range("7d", "7 days", 900, 672, 48),
        Range("30d", "30 days", 3_600, 720, 24),
    )
}


@dataclass(frozen=True, slots=True)
class AskedBucket:
    """A range, and the time that it lies around; None: it ends now."""

    range: Range = RANGES["6h"]
    at: datetime | None = None

    @classmethod
    def of(cls, query: Mapping[str, str], now: datetime) -> AskedBucket:
        """Raises NotUnderstood."""
        name = query.get("range", "") or "6h"
        if name not in RANGES:
            raise NotUnderstood(f"range={name!r} is none of {', '.join(RANGES)}.")
        at = time_of("at", query["at"]) if query.get("at") else None
        if at is not None and at > now:
            raise NotUnderstood(f"at ({at:%Y-%m-%d %H:%M:%S} UTC) lies ahead: it is {now:%Y-%m-%d %H:%M:%S} UTC.")
        return cls(RANGES[name], at)

    def window(self, now: datetime) -> tuple[datetime, datetime]:
        """Returns beginning and end, both whole steps since 1970."""
        middle = now if self.at is None else min(self.at + self.range.length / 2, now)
        seconds = self.range.seconds
        until = datetime.fromtimestamp((int(middle.timestamp()) // seconds + 1) * seconds, UTC)
        return until - self.range.length, until


@dataclass(frozen=True, slots=True)
class AskedAlerts:
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
    def of(cls, query: Mapping[str, str], now: datetime) -> AskedAlerts:
        """Raises NotUnderstood."""
        given = {name: query.get(name, "").strip() for name in ("participant", "policy", "alert", "severity", "state")}
        participant = given["participant"]
        if participant and not is_ispb(participant.ljust(_ISPB_DIGITS, "0")):
            raise NotUnderstood(f"participant={participant!r} is not the beginning of an ISPB: up to 8 digits.")
        if "\0" in given["policy"] + given["alert"]:
            raise NotUnderstood("policy and alert are names: they hold no NUL.")
        _one_of("severity", given["severity"], SEVERITIES)
        _one_of("state", given["state"], STATES)
        sort = query.get("sort", "") or "-began"
        _one_of("sort", sort.removeprefix("-"), SORTS)
        until = time_of("to", query["to"]) if query.get("to") else None
        since = time_of("from", query["from"]) if query.get("from") else (until or now) - DEFAULT_SPAN
        if since >= (until or now):
            raise NotUnderstood(
                f"from ({since:%Y-%m-%d %H:%M} UTC) must be before to ({until or now:%Y-%m-%d %H:%M} UTC)."
            )
        page = query.get("page", "") or "1"
        if not (page.isascii() and page.isdigit() and len(page) < 6 and 1 <= int(page) <= PAGES):
            raise NotUnderstood(
                f"page={page!r} is no number from 1 to {PAGES}; a filter or a shorter time shows the rest."
            )
        return cls(since=since, until=until, sort=sort, page=int(page), **given)

    def query(self, **changed: object) -> dict[str, str]:
        """Returns the query that asks for this, but for what is ``changed``; the first page, unless that is."""
        asked = replace(self, **{"page": 1} | changed) if changed else self  # type: ignore[arg-type]
        found = {name: getattr(asked, name) for name in ("participant", "policy", "alert", "severity", "state")}
        found["from"] = f"{asked.since:%Y-%m-%dT%H:%M:%SZ}"
        found["to"] = "" if asked.until is None else f"{asked.until:%Y-%m-%dT%H:%M:%SZ}"
        found["sort"] = "" if asked.sort == "-began" else asked.sort
        found["page"] = "" if asked.page == 1 else str(asked.page)
        return {name: value for name, value in found.items() if value}


def is_ispb(text: str) -> bool:
    return len(text) == _ISPB_DIGITS and text.isascii() and text.isdigit()


def time_of(name: str, text: str) -> datetime:
    """Returns a time, ISO 8601, UTC unless it says otherwise. Raises NotUnderstood."""
    try:
        # A + is a blank once a browser has read the address.
        at = datetime.fromisoformat(text.strip().replace(" ", "+" if "T" in text else "T", 1))
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise NotUnderstood(f"{name}={text!r} is no time: write 2026-03-10T12:00:00Z.") from None
    if not 1970 <= at.year <= 9000:
        raise NotUnderstood(f"{name}={text!r} is no time that there is anything about.")
    return at


def _one_of(name: str, value: str, known: Collection[str]) -> None:
    if value and value not in known:
        raise NotUnderstood(f"{name}={value!r} is none of {', '.join(known)}.")

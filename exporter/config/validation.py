"""What is wrong with settings of the right types: bounds, pairs that belong together, values that contradict others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from exporter.config.settings import AlertmanagerSettings, DatabaseSettings, Settings, keys, value_of
from exporter.durations import Duration

MAX_CHARACTERS: Final = 10_000
"""A longer text is a mistake, and is not examined any further."""

_LONGEST_HEARTBEAT: Final = Duration(86_400)
"""A bucket's states are looked for as far back as this."""
_LEAST_COMPACT_AFTER: Final = Duration(3_600)
_LABEL_NAME: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_ABOVE_ZERO: Final = (
    "poll.estimate_window",
    "poll.lowest_window",
    "poll.max_clock_skew",
    "rules.reload_interval",
    "rules.max_range",
    "database.connect_timeout",
    "database.heartbeat",
    "pulsar.operation_timeout",
    "alertmanager.timeout",
)
_PAIRS: Final = (
    ("bridge.tls", "cert_file", "key_file"),
    ("feed.tls", "cert_file", "key_file"),
    ("alertmanager.tls", "cert_file", "key_file"),
    ("pulsar.tls", "cert_file", "key_file"),
    ("alertmanager.basic_auth", "username", "password"),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the value of ``key``; ``others`` are the keys whose values it contradicts."""

    key: str
    message: str
    others: tuple[str, ...] = ()


def problems(settings: Settings) -> Iterator[Problem]:
    """Yields what is wrong with values of the right type, each alone and together with others."""
    yield from _length_problems(settings)
    yield from _list_problems(settings)
    poll, bridge = settings.poll, settings.bridge
    if poll.interval < 1:
        yield Problem("poll.interval", f"{poll.interval} is below 1s")
    if poll.staleness <= poll.interval:
        message = f"{poll.staleness} is not above poll.interval ({poll.interval})"
        yield Problem("poll.staleness", message, ("poll.interval",))
    if bridge.timeout <= 0 or bridge.timeout > poll.interval:
        message = f"{bridge.timeout} is not between 0s and poll.interval ({poll.interval})"
        yield Problem("bridge.timeout", message, ("poll.interval",))
    for key in _ABOVE_ZERO:
        if value_of(settings, key) <= 0:
            yield Problem(key, "must be above 0s")
    yield from _database_problems(settings.database)
    for section, one, other in _PAIRS:
        values = value_of(settings, section)
        for key, missing in ((one, other), (other, one)):
            if getattr(values, key) is not None and getattr(values, missing) is None:
                yield Problem(f"{section}.{key}", f"is set without {missing}: the two belong together")
    yield from _label_problems(settings.external_labels)
    yield from _alertmanager_problems(settings.alertmanager)


def _database_problems(database: DatabaseSettings) -> Iterator[Problem]:
    if database.min_size > database.max_size:
        message = f"{database.min_size} is above database.max_size ({database.max_size})"
        yield Problem("database.min_size", message, ("database.max_size",))
    if database.heartbeat > _LONGEST_HEARTBEAT:
        yield Problem("database.heartbeat", f"{database.heartbeat} is above {_LONGEST_HEARTBEAT}")
    if database.compact_after < _LEAST_COMPACT_AFTER:
        yield Problem("database.compact_after", f"{database.compact_after} is below {_LEAST_COMPACT_AFTER}")


def _label_problems(labels: Mapping[str, str]) -> Iterator[Problem]:
    for name, value in labels.items():
        if not _LABEL_NAME.fullmatch(name):
            yield Problem("external_labels", f"{name!r} is not the name of a label; write letters, digits and _")
        elif name == "alertname":
            yield Problem("external_labels", "alertname is set by each alert")
        elif not value:
            yield Problem(f"external_labels.{name}", "is empty, which is not a label; leave it out")


def _alertmanager_problems(settings: AlertmanagerSettings) -> Iterator[Problem]:
    if settings.basic_auth.username is not None and settings.bearer_token is not None:
        message = "is set beside alertmanager.basic_auth; keep one"
        yield Problem("alertmanager.bearer_token", message, ("alertmanager.basic_auth.username",))
    if settings.resend_interval < 1:
        yield Problem("alertmanager.resend_interval", f"{settings.resend_interval} is below 1s")
    try:
        ZoneInfo(settings.timezone)
    except (KeyError, OSError, ValueError):  # no such name; the name of a folder; an absolute path
        message = f"{settings.timezone!r} is not a time zone; write an IANA name: America/Sao_Paulo, or UTC"
        yield Problem("alertmanager.timezone", message)


def _length_problems(settings: Settings) -> Iterator[Problem]:
    for path, _, _ in keys():
        key = ".".join(path)
        value = value_of(settings, key)
        texts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, tuple) else [value]
        for text in texts:
            if isinstance(text, str) and len(text) > MAX_CHARACTERS:
                message = f"has {len(text):,} characters; no value needs more than {MAX_CHARACTERS:,}"
                yield Problem(key, message)


def _list_problems(settings: Settings) -> Iterator[Problem]:
    for key, listed in (
        ("participants", settings.participants),
        ("feed.targets", settings.feed.targets),
        ("alertmanager.targets", tuple(target and target.rstrip("/") for target in settings.alertmanager.targets)),
    ):
        for one in dict.fromkeys(one for one in listed if one is not None and listed.count(one) > 1):
            yield Problem(key, f"{one!r} is listed twice")
    if len(settings.participants) > settings.limits.participants:
        message = f"{len(settings.participants)} are more than limits.participants allows"
        yield Problem("participants", message, ("limits.participants",))

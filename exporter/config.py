"""Settings: one YAML file, every key overridable by the environment, validated at the edge.

``DICT_RATE_LIMIT_BRIDGE__TARGET`` sets ``bridge.target``; a secret also comes from
the file that ``..._FILE`` names; a list is written with commas. Durations are
written as in Prometheus (``15s``, ``1h30m``). Unknown keys are errors.
"""

from __future__ import annotations

import logging
import os
import re
from inspect import cleandoc
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args, get_type_hints

import msgspec

from exporter import files, yaml_text
from exporter.errors import ConfigurationError
from exporter.watched_files import WatchedFiles
from exporter.yaml_text import YamlInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Self

log = logging.getLogger(__name__)

ENVIRONMENT_PREFIX: Final = "DICT_RATE_LIMIT_"
MASK: Final = "********"
MOST_CHARACTERS: Final = 10_000
"""A text that is longer is a mistake, and is not looked at any further."""
_USER_INFO: Final = re.compile(r"(?<=://)[^/?#\s]*@")
_SECRET_PARAMETER: Final = re.compile(r"(?i)([?&][\w.-]*(?:token|password|secret|key|signature)[\w.-]*=)[^&#\s]+")

_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_DURATION: Final = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?",
    re.ASCII,
)
_LONGEST_SECONDS: Final = 2**63 / 10**9
"""What Go counts in 64 bits of nanoseconds: 292 years."""


class DurationOutOfRange(ValueError):
    """A duration is too long for Prometheus."""


def parse_duration(text: str) -> float:
    """Returns seconds of a duration in Prometheus' notation, such as ``1h30m``. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if text == "0":
        return 0.0
    if not text or match is None:
        raise ValueError(f"{text!r} is not a duration; write it as 15s, 5m or 1h30m")
    units = ("y", "w", "d", "h", "m", "s", "ms")
    seconds = sum(float(n) * _UNITS[unit] for n, unit in zip(match.groups(), units, strict=True) if n)
    if seconds >= _LONGEST_SECONDS:
        raise DurationOutOfRange(f"{text!r} is too long a duration; the longest is 292y")
    return seconds


class Duration(float):
    """Seconds, written as in Prometheus."""

    __slots__ = ()

    def __str__(self) -> str:
        left, text = round(self * 1000), ""
        for unit in ("d", "h", "m", "s", "ms"):
            count, left = divmod(left, round(_UNITS[unit] * 1000))
            text += f"{count}{unit}" if count else ""
        return text or "0s"


class Secret(str):
    """Text that is never shown. One that comes from a file is that file's, whenever it is asked for."""

    __slots__ = ("_file",)
    _file: SecretFile | None

    def __new__(cls, text: str, file: SecretFile | None = None) -> Self:
        made = super().__new__(cls, text)
        made._file = file
        return made

    def __repr__(self) -> str:
        return repr(MASK)

    def reveal(self) -> str:
        return str.__str__(self) if self._file is None else self._file.text()

    def __str__(self) -> str:
        return MASK

    def __format__(self, _spec: str) -> str:
        return MASK


class SecretFile:
    """A file that holds a secret, read again when it changed.

    What it holds then and cannot be one (nothing, no text) is told once, and the
    last secret stays. Raises ConfigurationError where the first cannot be read.
    """

    def __init__(self, variable: str, file: str) -> None:
        self._variable = variable
        self._file = file
        self._watched = WatchedFiles()
        self._text = self._read()

    def text(self) -> str:
        if self._watched.changed():
            try:
                self._text = self._read()
            except ConfigurationError as error:
                log.error("a changed secret is not used, the last one stays: %s", error)  # noqa: TRY400
            else:
                log.info("a secret was read again", extra={"variable": self._variable, "file": self._file})
        return self._text

    def _read(self) -> str:
        self._watched.take([self._file])
        try:
            secret = files.read(self._file).decode().strip()
        except OSError as error:
            raise ConfigurationError(f"{self._variable}: {self._file} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise ConfigurationError(f"{self._variable}: {self._file} is not text in UTF-8") from None
        if not secret:
            raise ConfigurationError(f"{self._variable}: {self._file} is empty")
        return secret


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


# `$` alone would let a line break follow.
IspbText = Annotated[str, msgspec.Meta(pattern="^[0-9]{8}$", max_length=8, description="ISPB: eight digits")]
PositiveInt = Annotated[int, msgspec.Meta(ge=1)]


class TlsSettings(_Section, frozen=True):
    """Files in PEM; they are read again when they change."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None


class BridgeSettings(_Section, frozen=True):
    """The participant's own gRPC gateway to DICT."""

    target: str = ""
    insecure: bool = False
    tls: TlsSettings = TlsSettings()
    timeout: Duration = Duration(5)
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 2


class PollSettings(_Section, frozen=True):
    """When to poll, and what to make of the answers."""

    interval: Duration = Duration(15)
    staleness: Duration = Duration(300)
    estimate_window: Duration = Duration(60)
    max_clock_skew: Duration = Duration(300)


class FeedSettings(_Section, frozen=True):
    """Polls on their way from the exporter to the reconciler, where these are two processes."""

    listen_address: str | None = None
    targets: tuple[str, ...] = ()
    backlog: Duration = Duration(3600)
    tls: TlsSettings = TlsSettings()
    insecure: bool = False


class RulesSettings(_Section, frozen=True):
    """Prometheus rule files; ``reload_interval`` is how often they are looked at for changes.

    Files without any rule are refused, unless ``allow_none`` says that it is meant.
    """

    files: tuple[str, ...] = ("rules/*.yml",)
    reload_interval: Duration = Duration(30)
    allow_none: bool = False


class DatabaseSettings(_Section, frozen=True):
    """PostgreSQL. ``queue`` is how many polls are kept for it, which it may not have or may lose."""

    dsn: Secret | None = None
    min_size: Annotated[int, msgspec.Meta(ge=0)] = 1
    max_size: PositiveInt = 4
    connect_timeout: Duration = Duration(5)
    queue: PositiveInt = 20_000
    retention_months: Annotated[int, msgspec.Meta(ge=1, le=120)] = 13
    heartbeat: Duration = Duration(900)


class PulsarTlsSettings(_Section, frozen=True):
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    validate_hostname: bool = True


class PulsarSettings(_Section, frozen=True):
    """The broker that alert events go to. ``keep_published`` is how long relayed rows stay in the outbox."""

    service_url: str | None = None
    topic: str = "persistent://lb-conn/dict/rate-limit-alerts"
    token: Secret | None = None
    tls: PulsarTlsSettings = PulsarTlsSettings()
    operation_timeout: Duration = Duration(30)
    keep_published: Duration = Duration(7 * 86400)


class TracingSettings(_Section, frozen=True):
    """OpenTelemetry traces over OTLP (gRPC); none are made without an endpoint."""

    otlp_endpoint: str | None = None
    sample_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


class WebSettings(_Section, frozen=True):
    listen_address: str = "0.0.0.0:9862"
    config_file: str | None = None
    enable_lifecycle: bool = False
    allowed_hosts: tuple[str, ...] = ()


class LimitsSettings(_Section, frozen=True):
    """How many there may be at most; what is beyond is counted, logged once, and refused.

    ``policies`` of one participant, gone ones included until they are stale;
    ``participants`` that are polled, or that feeds carry.
    """

    participants: PositiveInt = 10_000
    policies: PositiveInt = 256


class LogSettings(_Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["logfmt", "json"] = "logfmt"


class Settings(_Section, frozen=True):
    """Everything that can be configured."""

    participants: tuple[IspbText, ...] = ()
    bridge: BridgeSettings = BridgeSettings()
    poll: PollSettings = PollSettings()
    feed: FeedSettings = FeedSettings()
    rules: RulesSettings = RulesSettings()
    database: DatabaseSettings = DatabaseSettings()
    pulsar: PulsarSettings = PulsarSettings()
    tracing: TracingSettings = TracingSettings()
    web: WebSettings = WebSettings()
    limits: LimitsSettings = LimitsSettings()
    log: LogSettings = LogSettings()


def load_settings(file: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Returns the settings of ``file`` (none: defaults), overridden by the environment.

    Raises ConfigurationError naming file or variable, key, and what is wrong.
    """
    environment = os.environ if environment is None else environment
    raw = {} if file is None else _read(file)
    source = str(file) if file is not None else "settings"
    settings = _convert(raw, source)
    overrides = _overrides(environment)
    for path, (variable, text) in overrides.items():
        _convert(_nested(path, text), variable, strict=False)
    if overrides:
        merged = msgspec.to_builtins(settings, enc_hook=_plain, builtin_types=(Duration, Secret))
        for path, (_variable, text) in overrides.items():
            _set(merged, path, text)
        settings = _convert(merged, source, strict=False)
    _check(settings, source)
    return settings


def source_of(key: str, file: Path | None, environment: Mapping[str, str] | None = None) -> str:
    """Returns where ``load_settings`` has a key's value from: the name of a variable, or of the file."""
    environment = os.environ if environment is None else environment
    variable = ENVIRONMENT_PREFIX + key.replace(".", "__").upper()
    if environment.get(variable):
        return variable
    return str(file) if file is not None else "settings"


def masked(settings: Settings) -> dict[str, Any]:
    """Returns the settings as plain values, secrets masked, durations as written."""
    shown: dict[str, Any] = _show(settings)
    return shown


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema of the configuration file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dict-rate-limit configuration",
        **_section_schema(Settings),
    }


def keys(section: type = Settings, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yields ``(path, type, default)`` of every key."""
    hints = get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        kind, path = hints[field.name], (*prefix, field.name)
        if isinstance(kind, type) and issubclass(kind, _Section):
            yield from keys(kind, path)
        else:
            yield path, kind, field.default


def _read(file: Path) -> Any:
    try:
        raw = yaml_text.read(files.read(file))
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from error
    except YamlInvalid as error:
        raise ConfigurationError(f"{file}: {error}") from None
    return {} if raw is None else raw


def _convert(raw: Any, source: str, *, strict: bool = True) -> Settings:
    try:
        return msgspec.convert(raw, Settings, strict=strict, dec_hook=_decode)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$.")
        key = where.rstrip("`")
        raise ConfigurationError(f"{source}: {key + ': ' if key else ''}{message}") from error


def _decode(kind: type, value: Any) -> Any:
    if kind is Duration:
        if isinstance(value, Duration):
            return value
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a duration; write it with its unit, as in 15s")
        return Duration(parse_duration(value))
    if kind is Secret:
        if not isinstance(value, str):
            raise ValueError("a secret must be text")
        return value if isinstance(value, Secret) else Secret(value)
    raise NotImplementedError(kind)


def _plain(value: Any) -> Any:
    return value


def _is_secret(kind: Any) -> bool:
    return Secret in (kind, *get_args(kind))


def _overrides(environment: Mapping[str, str]) -> dict[tuple[str, ...], tuple[str, Any]]:
    found: dict[tuple[str, ...], tuple[str, Any]] = {}
    known: set[str] = set()
    # An empty variable is not set: Compose files and units pass on what nobody gave a value.
    given = {name: text for name, text in environment.items() if text}
    for path, kind, default in keys():
        variable = ENVIRONMENT_PREFIX + "__".join(path).upper()
        known.add(variable)
        if variable in given:
            text: Any = given[variable]
            if isinstance(default, tuple):
                text = [part.strip() for part in text.split(",") if part.strip()]
            found[path] = (variable, text)
        if _is_secret(kind):
            known.add(variable + "_FILE")
            if variable + "_FILE" in given:
                if variable in given:
                    raise ConfigurationError(f"{variable} and {variable}_FILE are both set; keep one")
                file = SecretFile(variable + "_FILE", given[variable + "_FILE"])
                found[path] = (variable + "_FILE", Secret(file.text(), file))
    for variable in environment:
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in known:
            raise ConfigurationError(f"{variable}: no such setting; see config.example.yml")
    return found


def _nested(path: tuple[str, ...], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def _set(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree[name]
    tree[path[-1]] = value


def _check(settings: Settings, source: str) -> None:
    def refuse(key: str, message: str) -> None:
        raise ConfigurationError(f"{source}: {key}: {message}")

    for key, what in (*_too_long(settings), *_listed_wrongly(settings)):
        refuse(key, what)
    poll = settings.poll
    if poll.interval < 1:
        refuse("poll.interval", f"{poll.interval} is below 1s")
    if poll.staleness <= poll.interval:
        refuse("poll.staleness", f"{poll.staleness} is not above poll.interval ({poll.interval})")
    if settings.bridge.timeout <= 0 or settings.bridge.timeout > poll.interval:
        refuse("bridge.timeout", f"{settings.bridge.timeout} is not between 0s and poll.interval ({poll.interval})")
    for key in _not_above_zero(settings):
        refuse(key, "must be above 0s")
    if settings.database.min_size > settings.database.max_size:
        refuse("database.min_size", "is above database.max_size")
    for name, tls in (("bridge.tls", settings.bridge.tls), ("feed.tls", settings.feed.tls)):
        if (tls.cert_file is None) != (tls.key_file is None):
            refuse(name, "cert_file and key_file belong together")


def _too_long(settings: Settings) -> Iterator[tuple[str, str]]:
    for path, _, _ in keys():
        value: Any = settings
        for name in path:
            value = getattr(value, name)
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and len(text) > MOST_CHARACTERS:
                yield ".".join(path), f"has {len(text):,} characters; no value needs more than {MOST_CHARACTERS:,}"


def _listed_wrongly(settings: Settings) -> list[tuple[str, str]]:
    lists = {
        ("participants", "an ISPB"): settings.participants,
        ("feed.targets", "an exporter"): settings.feed.targets,
    }
    found = [
        (key, f"{what} is listed twice") for (key, what), listed in lists.items() if len(set(listed)) != len(listed)
    ]
    if len(settings.participants) > settings.limits.participants:
        found.append(("participants", f"{len(settings.participants)} are more than limits.participants allows"))
    return found


def _not_above_zero(settings: Settings) -> list[str]:
    seconds = {
        "poll.estimate_window": settings.poll.estimate_window,
        "poll.max_clock_skew": settings.poll.max_clock_skew,
        "rules.reload_interval": settings.rules.reload_interval,
        "database.connect_timeout": settings.database.connect_timeout,
        "database.heartbeat": settings.database.heartbeat,
        "pulsar.operation_timeout": settings.pulsar.operation_timeout,
    }
    return [key for key, value in seconds.items() if value <= 0]


def _show(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {field: _show(getattr(value, field)) for field in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_show(item) for item in value]
    if isinstance(value, (Duration, Secret)):
        return str(value)
    return without_secrets(value) if isinstance(value, str) else value


def without_secrets(text: str) -> str:
    """Returns ``text`` with what a URL holds of a secret masked: its user and password, tokens in its query."""
    return _SECRET_PARAMETER.sub(rf"\1{MASK}", _USER_INFO.sub(f"{MASK}@", text))


def _section_schema(section: type[_Section]) -> dict[str, Any]:
    hints = get_type_hints(section, include_extras=True)
    properties = {}
    for field in msgspec.structs.fields(section):
        kind = hints[field.name]
        if isinstance(kind, type) and issubclass(kind, _Section):
            properties[field.name] = _section_schema(kind)
        else:
            found = msgspec.json.schema(kind, schema_hook=_schema)
            properties[field.name] = {**found, "default": _show(field.default)}
    described = {"description": cleandoc(section.__doc__)} if section.__doc__ else {}
    return {"type": "object", **described, "properties": properties, "additionalProperties": False}


def _schema(kind: type) -> dict[str, Any]:
    if kind is Duration:
        return {
            "type": "string",
            "pattern": "^([0-9]+(ms|[smhdwy]))+$|^0$",
            "description": "as in Prometheus: 15s, 1h30m",
        }
    if kind is Secret:
        return {"type": "string", "description": "a secret; better set from the environment or a file"}
    raise NotImplementedError(kind)

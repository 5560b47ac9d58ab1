"""Settings: one YAML file, every key overridable by the environment, validated at the edge.

``DICT_RATE_LIMIT_BRIDGE__TARGET`` sets ``bridge.target``; a secret also comes from
the file that ``..._FILE`` names; a list is written with commas, labels as
``name=value``. Durations are written as in Prometheus (``15s``, ``1h30m``).
Unknown keys are errors.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from inspect import cleandoc
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args, get_type_hints
from zoneinfo import ZoneInfo

import msgspec

from exporter import files, yaml_text
from exporter.durations import Duration, parse_duration
from exporter.errors import ConfigurationError
from exporter.structures import Reader, nearest, stands
from exporter.watched_files import WatchedFiles
from exporter.yaml_text import Document, YamlInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import Self

log = logging.getLogger(__name__)

ENVIRONMENT_PREFIX: Final = "DICT_RATE_LIMIT_"
MASK: Final = "********"
MOST_CHARACTERS: Final = 10_000
"""A text that is longer is a mistake, and is not looked at any further."""
_USER_INFO: Final = re.compile(r"(?<=://)[^/?#\s]*@")
_SECRET_PARAMETER: Final = re.compile(r"(?i)([?&][\w.-]*(?:token|password|secret|key|signature)[\w.-]*=)[^&#\s]+")

_LABEL_NAME: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


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
IspbText = Annotated[str, msgspec.Meta(pattern="^[0-9]{8}$", max_length=8, description="an ISPB, eight digits")]
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


class BasicAuthSettings(_Section, frozen=True):
    """HTTP basic authentication."""

    username: str | None = None
    password: Secret | None = None


class AlertmanagerSettings(_Section, frozen=True):
    """Alertmanagers that whoever leads sends its alerts to, straight. ``external_url`` is what links begin with."""

    targets: tuple[str, ...] = ()
    tls: TlsSettings = TlsSettings()
    basic_auth: BasicAuthSettings = BasicAuthSettings()
    bearer_token: Secret | None = None
    timeout: Duration = Duration(5)
    resend_interval: Duration = Duration(60)
    external_url: str | None = None
    timezone: str = "America/Sao_Paulo"


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
    external_labels: dict[str, str] = {}
    alertmanager: AlertmanagerSettings = AlertmanagerSettings()
    database: DatabaseSettings = DatabaseSettings()
    pulsar: PulsarSettings = PulsarSettings()
    tracing: TracingSettings = TracingSettings()
    web: WebSettings = WebSettings()
    limits: LimitsSettings = LimitsSettings()
    log: LogSettings = LogSettings()


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the value of ``key``; ``others`` are keys whose values it is at odds with."""

    key: str
    message: str
    others: tuple[str, ...] = ()


class Configuration:
    """The settings, where each value comes from, and all that is wrong with them.

    What is wrong has its default in ``settings``.
    """

    def __init__(self, file: Path | None, environment: Mapping[str, str]) -> None:
        """Reads both. Raises ConfigurationError where the file cannot be read, or is not YAML."""
        self.problems: list[str] = []
        self._file = file
        self._document = _read(file)
        self._variables: dict[str, str] = {}
        self._flags: dict[str, str] = {}
        self._wrong: set[str] = set()
        raw = {} if self._document.value is None else self._document.value
        self._tell_repeated()
        reader = Reader(_decode)
        self.settings = reader.struct(Settings, raw)
        self._tell_wrong(reader)
        if not isinstance(raw, dict):
            self.sound()  # whatever else is said would be about nothing
        self._override(environment)
        self.tell(_at_odds(self.settings))

    def tell(self, problems: Iterable[Problem]) -> None:
        """Takes note of problems, but for those of values that are known to be wrong."""
        for problem in problems:
            involved = (problem.key, *problem.others)
            if not any(self.is_wrong(key) for key in involved):
                self._wrong.add(problem.key)
                place = next((found for key in involved if (found := self._own_place(key))), self.place(problem.key))
                self._tell(place, problem.key, problem.message)

    def replace(self, section: str, flags: Mapping[str, tuple[str, Any]]) -> None:
        """Sets keys of a section to what flags say: of each key the flag and the value."""
        given = {name: value for name, (_, value) in flags.items()}
        changed = msgspec.structs.replace(getattr(self.settings, section), **given)
        self.settings = msgspec.structs.replace(self.settings, **{section: changed})
        self._flags |= {f"{section}.{name}": flag for name, (flag, _) in flags.items()}

    def is_set(self, key: str) -> bool:
        """Whether a key, or one of a section's, is given anywhere, and not left to its default."""
        below = (name for name in (*self._variables, *self._flags) if name.startswith(f"{key}."))
        return bool(self._own_place(key)) or next(below, None) is not None

    def place(self, key: str) -> str:
        """Returns where a key has its value from: a flag, a variable, or file and line; the file where it has none."""
        return self._own_place(key) or (str(self._file) if self._file is not None else "")

    def sound(self) -> Settings:
        """Returns the settings. Raises ConfigurationError with all that is wrong."""
        if self.problems:
            raise ConfigurationError(*self.problems)
        return self.settings

    def _own_place(self, key: str) -> str:
        if key in self._flags or key in self._variables:
            return self._flags.get(key) or self._variables[key]
        line = self._document.line_of(key.split("."))
        return "" if line is None else f"{self._file}:{line}"

    def is_wrong(self, key: str) -> bool:
        """Whether a problem of the key's value, or of a section that it is in, is told."""
        return any(key == wrong or key.startswith(f"{wrong}.") for wrong in self._wrong)

    def _tell(self, place: str, key: str, message: str) -> None:
        self.problems.append(": ".join(filter(None, (place, key, message))))

    def _tell_repeated(self) -> None:
        told: set[tuple[str, int]] = set()
        for path, repeated in self._document.repeated():
            if (repeated.name, repeated.line) not in told:
                told.add((repeated.name, repeated.line))
                key = ".".join((*path, repeated.name))
                message = f"is given twice, first in line {repeated.first_line}; keep one"
                self._tell(f"{self._file}:{repeated.line}", key, message)

    def _tell_wrong(self, reader: Reader, variable: str = "") -> None:
        for wrong in reader.wrong:
            self._wrong.add(".".join(name for name in wrong.path if isinstance(name, str)))
            line = self._document.line_of(wrong.path) or 1
            self._tell(variable or f"{self._file}:{line}", wrong.key, wrong.message)

    def _override(self, environment: Mapping[str, str]) -> None:
        overrides, problems = _overrides(environment)
        self.problems += problems
        for path, (variable, kind, value) in overrides.items():
            reader = Reader(_decode, written=True)
            made = reader.value(kind, value, path)
            key = ".".join(path)
            self._variables[key] = variable
            self._wrong.discard(key)
            self._tell_wrong(reader, variable)
            if made is None:
                self._wrong.add(key)
            elif not reader.wrong:
                self.settings = _replaced(self.settings, path, made)


def load_settings(file: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Returns the settings of ``file`` (none: defaults), overridden by the environment.

    Raises ConfigurationError with all that is wrong: file and line or variable, key, and what is wrong with it.
    """
    return Configuration(file, os.environ if environment is None else environment).sound()


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
            yield path, kind, _default(field)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _read(file: Path | None) -> Document:
    if file is None:
        return Document(None, None)
    try:
        return yaml_text.document(files.read(file))
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from error
    except YamlInvalid as error:
        raise ConfigurationError(f"{file}:{error.told_at_line}") from None


def _decode(kind: type, value: Any) -> Any:
    if kind is Duration:
        if isinstance(value, Duration):
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise ValueError(f"{value!r} is not a duration; write it with its unit, as in 15s")
        if not isinstance(value, str):
            raise ValueError(stands(value, "a duration, as in 15s"))
        return Duration(parse_duration(value))
    if kind is Secret:
        if not isinstance(value, str):
            raise ValueError(stands(value, "a secret as text, in quotes"))
        return value if isinstance(value, Secret) else Secret(value)
    raise NotImplementedError(kind)


def _is_secret(kind: Any) -> bool:
    return Secret in (kind, *get_args(kind))


def _overrides(
    environment: Mapping[str, str],
) -> tuple[dict[tuple[str, ...], tuple[str, Any, Any]], list[str]]:
    """Returns variable, type and text of each key that is set by one, and what is wrong."""
    found: dict[tuple[str, ...], tuple[str, Any, Any]] = {}
    known: set[str] = set()
    problems: list[str] = []
    # An empty variable is not set: Compose files and units pass on what nobody gave a value.
    given = {name: text for name, text in environment.items() if text}
    for path, kind, default in keys():
        variable = ENVIRONMENT_PREFIX + "__".join(path).upper()
        known.add(variable)
        if variable in given:
            text: Any = given[variable]
            if isinstance(default, tuple):
                text = [part.strip() for part in text.split(",") if part.strip()]
            elif isinstance(default, dict):
                text = _pairs(variable, text, problems)
            found[path] = (variable, kind, text)
        if _is_secret(kind):
            known.add(variable + "_FILE")
            if variable + "_FILE" in given:
                secret = _from_file(variable, given, problems)
                found[path] = (variable + "_FILE", kind, secret)
    for variable in environment:
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in known:
            meant = nearest(
                variable.removeprefix(ENVIRONMENT_PREFIX), [n.removeprefix(ENVIRONMENT_PREFIX) for n in known]
            )
            hint = f"did you mean {ENVIRONMENT_PREFIX}{meant}?" if meant else ".env.example lists them all"
            problems.append(f"{variable}: no such setting; {hint}")
    return found, problems


def _from_file(variable: str, given: Mapping[str, str], problems: list[str]) -> Secret | None:
    if variable in given:
        problems.append(f"{variable} and {variable}_FILE are both set; keep one")
        return None
    try:
        file = SecretFile(variable + "_FILE", given[variable + "_FILE"])
    except ConfigurationError as error:
        problems += error.problems
        return None
    return Secret(file.text(), file)


def _pairs(variable: str, text: str, problems: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, separator, value = part.partition("=")
        if not separator:
            problems.append(f"{variable}: {part!r} is no label; write name=value, several with commas")
            continue
        if name.strip() in pairs:
            problems.append(f"{variable}: {name.strip()} is there twice")
        pairs[name.strip()] = value.strip()
    return pairs


def _replaced(section: Any, path: tuple[str, ...], value: Any) -> Any:
    name, *rest = path
    made = _replaced(getattr(section, name), tuple(rest), value) if rest else value
    return msgspec.structs.replace(section, **{name: made})


def _at_odds(settings: Settings) -> Iterator[Problem]:
    """Yields what is wrong with values that are of the right kind, each by itself and beside others."""
    yield from _too_long(settings)
    yield from _listed_wrongly(settings)
    poll, bridge = settings.poll, settings.bridge
    if poll.interval < 1:
        yield Problem("poll.interval", f"{poll.interval} is below 1s")
    if poll.staleness <= poll.interval:
        message = f"{poll.staleness} is not above poll.interval ({poll.interval})"
        yield Problem("poll.staleness", message, ("poll.interval",))
    if bridge.timeout <= 0 or bridge.timeout > poll.interval:
        message = f"{bridge.timeout} is not between 0s and poll.interval ({poll.interval})"
        yield Problem("bridge.timeout", message, ("poll.interval",))
    for key in _not_above_zero(settings):
        yield Problem(key, "must be above 0s")
    database = settings.database
    if database.min_size > database.max_size:
        message = f"{database.min_size} is above database.max_size ({database.max_size})"
        yield Problem("database.min_size", message, ("database.max_size",))
    for name, tls in (
        ("bridge.tls", bridge.tls),
        ("feed.tls", settings.feed.tls),
        ("alertmanager.tls", settings.alertmanager.tls),
        ("pulsar.tls", settings.pulsar.tls),
    ):
        if (tls.cert_file is None) != (tls.key_file is None):
            given, missing = ("key_file", "cert_file") if tls.cert_file is None else ("cert_file", "key_file")
            yield Problem(f"{name}.{given}", f"is set without {missing}: the two belong together")
    yield from _wrong_labels(settings.external_labels)
    yield from _wrong_alertmanager(settings.alertmanager)


def _wrong_labels(labels: Mapping[str, str]) -> Iterator[Problem]:
    for name, value in labels.items():
        if not _LABEL_NAME.fullmatch(name):
            yield Problem("external_labels", f"{name!r} is no name of a label; write letters, digits and _")
        elif name == "alertname":
            yield Problem("external_labels", "alertname is the alert's own")
        elif not value:
            yield Problem(f"external_labels.{name}", "is empty, which is no label; leave it out")


def _wrong_alertmanager(settings: AlertmanagerSettings) -> Iterator[Problem]:
    basic = settings.basic_auth
    if (basic.username is None) != (basic.password is None):
        given, missing = ("password", "username") if basic.username is None else ("username", "password")
        message = f"is set without {missing}: the two belong together"
        yield Problem(f"alertmanager.basic_auth.{given}", message)
    if basic.username is not None and settings.bearer_token is not None:
        message = "is set beside alertmanager.basic_auth; keep one"
        yield Problem("alertmanager.bearer_token", message, ("alertmanager.basic_auth.username",))
    if settings.resend_interval < 1:
        yield Problem("alertmanager.resend_interval", f"{settings.resend_interval} is below 1s")
    try:
        ZoneInfo(settings.timezone)
    except (KeyError, OSError, ValueError):  # no such name; the name of a folder; an absolute path
        message = f"{settings.timezone!r} is no time zone; write a name of the IANA database: America/Sao_Paulo, or UTC"
        yield Problem("alertmanager.timezone", message)


def _too_long(settings: Settings) -> Iterator[Problem]:
    for path, _, _ in keys():
        value: Any = settings
        for name in path:
            value = getattr(value, name)
        for text in _texts(value):
            if isinstance(text, str) and len(text) > MOST_CHARACTERS:
                message = f"has {len(text):,} characters; no value needs more than {MOST_CHARACTERS:,}"
                yield Problem(".".join(path), message)


def _texts(value: Any) -> tuple[Any, ...]:
    if isinstance(value, dict):
        return (*value, *value.values())
    return value if isinstance(value, tuple) else (value,)


def _listed_wrongly(settings: Settings) -> Iterator[Problem]:
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


def _not_above_zero(settings: Settings) -> list[str]:
    seconds = {
        "poll.estimate_window": settings.poll.estimate_window,
        "poll.max_clock_skew": settings.poll.max_clock_skew,
        "rules.reload_interval": settings.rules.reload_interval,
        "database.connect_timeout": settings.database.connect_timeout,
        "database.heartbeat": settings.database.heartbeat,
        "pulsar.operation_timeout": settings.pulsar.operation_timeout,
        "alertmanager.timeout": settings.alertmanager.timeout,
    }
    return [key for key, value in seconds.items() if value <= 0]


def _show(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {field: _show(getattr(value, field)) for field in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_show(item) for item in value]
    if isinstance(value, dict):
        return {name: _show(item) for name, item in value.items()}
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
            properties[field.name] = {**found, "default": _show(_default(field))}
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

"""Settings: one YAML file, every key overridable by the environment, validated at the edge.

``DICT_RATE_LIMIT_BRIDGE__TARGET`` sets ``bridge.target``; a secret also comes from the file that ``..._FILE`` names; a
list is written with commas, labels as ``name=value``. Durations are written as in Prometheus (``15s``, ``1h30m``).
Unknown keys are errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from inspect import cleandoc
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from exporter.config.secrets import Secret, masked
from exporter.durations import Duration


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


# `$` alone would let a line break follow.
IspbText = Annotated[str, msgspec.Meta(pattern="^[0-9]{8}$", max_length=8, description="an ISPB, eight digits")]
PositiveInt = Annotated[int, msgspec.Meta(ge=1)]


class _Certificates(Section, frozen=True):
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class TlsSettings(_Certificates, frozen=True):
    """Files in PEM; they are read again when they change."""

    server_name: str | None = None


class BridgeSettings(Section, frozen=True):
    """The participant's own gRPC gateway to DICT."""

    target: str = ""
    insecure: bool = False
    tls: TlsSettings = TlsSettings()
    timeout: Duration = Duration(5)
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 2


class ReadsSettings(Section, frozen=True):
    """Reads of single buckets between two polls, paid for by POLICIES_READ.

    ``share`` of what refills there, which adds up where it is not used; 0: no reads. Tokens below ``reserve`` are left.
    """

    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    reserve: Annotated[int, msgspec.Meta(ge=0)] = 100


class PollSettings(Section, frozen=True):
    """When to poll, and how to judge the answers."""

    interval: Duration = Duration(15)
    reads: ReadsSettings = ReadsSettings()
    staleness: Duration = Duration(300)
    estimate_window: Duration = Duration(60)
    lowest_window: Duration = Duration(60)
    max_clock_skew: Duration = Duration(300)


class FeedSettings(Section, frozen=True):
    """Polls on their way from the exporter to the reconciler, where these are two processes."""

    listen_address: str | None = None
    targets: tuple[str, ...] = ()
    backlog: Duration = Duration(3600)
    tls: TlsSettings = TlsSettings()
    insecure: bool = False


class RulesSettings(Section, frozen=True):
    """Prometheus rule files; ``reload_interval`` is how often they are checked for changes.

    Rules look back at most ``max_range``, for which samples are kept in memory. Files without any rule are refused,
    unless ``allow_none`` says that this is intended.
    """

    files: tuple[str, ...] = ("rules/*.yml",)
    reload_interval: Duration = Duration(30)
    max_range: Duration = Duration(86_400)
    allow_none: bool = False


class DatabaseSettings(Section, frozen=True):
    """PostgreSQL. ``queue`` is how many polls wait in memory while it is away."""

    dsn: Secret | None = None
    min_size: Annotated[int, msgspec.Meta(ge=0)] = 1
    max_size: PositiveInt = 4
    connect_timeout: Duration = Duration(5)
    queue: PositiveInt = 20_000
    retention_months: Annotated[int, msgspec.Meta(ge=1, le=120)] = 13
    heartbeat: Duration = Duration(900)
    compact_after: Duration = Duration(172_800)


class PulsarTlsSettings(_Certificates, frozen=True):
    validate_hostname: bool = True


class PulsarSettings(Section, frozen=True):
    """The broker that alert events go to. ``keep_published`` is how long relayed rows stay in the outbox."""

    service_url: str | None = None
    topic: str = "persistent://lb-conn/dict/rate-limit-alerts"
    token: Secret | None = None
    tls: PulsarTlsSettings = PulsarTlsSettings()
    operation_timeout: Duration = Duration(30)
    keep_published: Duration = Duration(7 * 86400)


class BasicAuthSettings(Section, frozen=True):
    """HTTP basic authentication."""

    username: str | None = None
    password: Secret | None = None


class AlertmanagerSettings(Section, frozen=True):
    """Alertmanagers to which the leading reconciler sends its alerts. ``external_url`` is the base of links."""

    targets: tuple[str, ...] = ()
    tls: TlsSettings = TlsSettings()
    basic_auth: BasicAuthSettings = BasicAuthSettings()
    bearer_token: Secret | None = None
    timeout: Duration = Duration(5)
    resend_interval: Duration = Duration(60)
    external_url: str | None = None
    timezone: str = "America/Sao_Paulo"


class TracingSettings(Section, frozen=True):
    """OpenTelemetry traces over OTLP (gRPC); none without an endpoint."""

    otlp_endpoint: str | None = None
    sample_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


class WebSettings(Section, frozen=True):
    listen_address: str = "0.0.0.0:9862"
    config_file: str | None = None
    enable_lifecycle: bool = False
    allowed_hosts: tuple[str, ...] = ()


class LimitsSettings(Section, frozen=True):
    """Upper limits; what exceeds them is counted, logged once, and refused.

    ``policies`` of one participant, removed ones included until they are stale;
    ``participants`` that are polled, or that feeds carry.
    """

    participants: PositiveInt = 10_000
    policies: PositiveInt = 256


class LogSettings(Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["logfmt", "json"] = "logfmt"


class Settings(Section, frozen=True):
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


def keys(section: type = Settings, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yields ``(path, type, default)`` of every key."""
    hints = get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        kind, path = hints[field.name], (*prefix, field.name)
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from keys(kind, path)
        else:
            yield path, kind, _default_of(field)


def value_of(settings: Settings, key: str) -> Any:
    """Returns the value of a key, such as ``bridge.target``."""
    return reduce(getattr, key.split("."), settings)


def _default_of(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema of the configuration file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dict-rate-limit configuration",
        **_section_schema(Settings),
    }


def _section_schema(section: type[Section]) -> dict[str, Any]:
    hints = get_type_hints(section, include_extras=True)
    properties = {}
    for field in msgspec.structs.fields(section):
        kind = hints[field.name]
        if isinstance(kind, type) and issubclass(kind, Section):
            properties[field.name] = _section_schema(kind)
        else:
            described = msgspec.json.schema(kind, schema_hook=_schema)
            properties[field.name] = {**described, "default": masked(_default_of(field))}
    description = {"description": cleandoc(section.__doc__)} if section.__doc__ else {}
    return {"type": "object", **description, "properties": properties, "additionalProperties": False}


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

"""Logs and traces.

A log line is one event: a message, and fields handed as ``extra``. Traces are made only where an OTLP endpoint is
configured; OpenTelemetry is not imported otherwise.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from exporter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

log = logging.getLogger(__name__)

_traceparent: Final[ContextVar[str | None]] = ContextVar("traceparent", default=None)
_tracer: Tracer | None = None

REMIND_SECONDS: Final = 60.0
"""How often something that goes on is logged again."""

_RECORD_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({})))


def configure_logging(level: str, format_: Literal["logfmt", "json"]) -> None:
    """Sends every log line to stderr, structured, times in UTC. Replaces what was configured before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(format_))
    handler.addFilter(_complete)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # It says of each attempt to connect that it failed, once a second for as long as PostgreSQL is away: see Outage.
    logging.getLogger("psycopg.pool").setLevel(logging.NOTSET if level == "debug" else logging.CRITICAL)
    logging.captureWarnings(capture=True)


def traceparent() -> str | None:
    """Returns the W3C trace context of the span in progress, or None."""
    return _traceparent.get()


@contextmanager
def carrying(value: str | None) -> Iterator[None]:
    """Goes on with a trace that another process began."""
    token = _traceparent.set(value)
    try:
        yield
    finally:
        _traceparent.reset(token)


def configure_tracing(endpoint: str | None, sample_ratio: float, *, role: str, version: str) -> Callable[[], None]:
    """Sends spans to ``endpoint`` (OTLP over gRPC; ``http://`` is plaintext); None: no spans are made.

    Returns the function that sends what is left, within 5 s, and ends it. OpenTelemetry reads its own variables
    (``OTEL_…``), too. Raises ConfigurationError where it cannot make sense of one.
    """
    global _tracer  # noqa: PLW0603 - one process has one tracer
    _tracer = None
    if endpoint is None:
        return lambda: None
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        # Its spans would have no ids, and these would be handed on.
        log.warning("no traces, though tracing.otlp_endpoint is set: OTEL_SDK_DISABLED is true")
        return lambda: None
    try:
        provider = _provider(endpoint, sample_ratio, role=role, version=version)
    except Exception as error:
        variables = ", ".join(sorted(name for name in os.environ if name.startswith("OTEL_"))) or "none"
        raise ConfigurationError(
            f"tracing: OpenTelemetry cannot start: {type(error).__name__}: {error}; "
            f"its variables that are set: {variables}"
        ) from error
    _tracer = provider.get_tracer("exporter", version)

    def finish() -> None:
        global _tracer  # noqa: PLW0603
        _tracer = None
        provider.force_flush(5000)
        provider.shutdown()

    return finish


def _provider(endpoint: str, sample_ratio: float, *, role: str, version: str) -> TracerProvider:
    """Raises what OpenTelemetry raises of its variables: ValueError, KeyError, and a class of its own."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    resource = Resource.create(
        {"service.name": "dict-rate-limit", "service.version": version, "dict_rate_limit.role": role}
    )
    provider = TracerProvider(
        resource=resource, sampler=ParentBased(TraceIdRatioBased(sample_ratio)), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://"), timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


@contextmanager
def span(
    name: str, kind: Literal["internal", "client", "producer"] = "internal", **attributes: str | float
) -> Iterator[None]:
    """Makes a span within the trace in progress; costs next to nothing where no endpoint is configured.

    ``kind`` says whom it waits for: ``client`` another service's answer, ``producer`` a broker's receipt.
    """
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind, format_span_id, format_trace_id
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = _traceparent.get()
    context = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
    kind_of = SpanKind[kind.upper()]
    with _tracer.start_as_current_span(name, context=context, kind=kind_of, attributes=attributes) as started:
        here = started.get_span_context()
        value = f"00-{format_trace_id(here.trace_id)}-{format_span_id(here.span_id)}-{here.trace_flags:02x}"
        with carrying(value):
            yield


def span_failed(description: str) -> None:
    """Marks the span in progress as an error. One that an exception leaves is marked so anyway."""
    if _tracer is None:
        return
    from opentelemetry.trace import Status, StatusCode, get_current_span

    get_current_span().set_status(Status(StatusCode.ERROR, description))


def _complete(record: logging.LogRecord) -> bool:
    """Adds the trace, and leaves out fields that say nothing."""
    for name in [name for name, value in vars(record).items() if value is None and name not in _RECORD_ATTRIBUTES]:
        delattr(record, name)
    value = _traceparent.get()
    if value is not None:
        record.trace_id = value.split("-")[1]
    return True


def _formatter(format_: Literal["logfmt", "json"]) -> logging.Formatter:
    # Imported here: each role pays for one format only.
    if format_ == "json":
        from pythonjsonlogger.json import JsonFormatter

        formatter: logging.Formatter = JsonFormatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "ts", "levelname": "level", "name": "logger", "message": "msg"},
        )
    else:
        from logfmter import Logfmter

        mapping = {"ts": "asctime", "level": "levelname", "logger": "name"}
        formatter = Logfmter(keys=list(mapping), mapping=mapping)
    formatter.converter = time.gmtime
    formatter.default_time_format = "%Y-%m-%dT%H:%M:%S"
    formatter.default_msec_format = "%s.%03dZ"
    return formatter


@dataclass
class Reminder:
    """Decides which of repeated messages are worth a line in the log: new ones, and one now and then."""

    every_seconds: float = REMIND_SECONDS
    monotonic: Callable[[], float] = time.monotonic
    _message: str | None = None
    _logged_at: float = 0.0

    def is_due(self, message: str) -> bool:
        """Returns whether ``message`` is another one than the last, or was not due for ``every_seconds``."""
        now = self.monotonic()
        due = message != self._message or now - self._logged_at >= self.every_seconds
        if due:
            self._message, self._logged_at = message, now
        return due

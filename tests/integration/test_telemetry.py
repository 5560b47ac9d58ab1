"""Logs that machines read, and traces that a real OTLP endpoint receives."""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from exporter import telemetry
from exporter.errors import ConfigurationError
from tests.support.collector import Collector
from tests.support.program import Bridge, Program, json_lines, programs, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.stop()


@pytest.fixture
def logs(capsys):
    """Configures logging, and returns the lines that were logged; leaves logging as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def lines() -> list[str]:
        return capsys.readouterr().err.splitlines()

    def begin(format_: str) -> Callable[[], list[str]]:
        telemetry.configure_logging("info", format_)
        return lines

    yield begin
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_a_log_line_is_one_event_in_json(logs) -> None:
    lines = logs("json")

    logging.getLogger("exporter.test").warning("poll %s", "failed", extra={"participant": "12345678", "policy": None})

    (line,) = map(json.loads, lines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("ts"))
    assert line == {"level": "WARNING", "logger": "exporter.test", "msg": "poll failed", "participant": "12345678"}


def test_a_log_line_is_one_event_in_logfmt(logs) -> None:
    lines = logs("logfmt")

    logging.getLogger("exporter.test").warning("poll failed", extra={"participant": "12345678", "policy": None})

    (line,) = lines()
    assert re.match(r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level", line)
    assert line.endswith('level=WARNING logger=exporter.test msg="poll failed" participant=12345678')


def test_a_log_line_names_its_trace(logs) -> None:
    lines = logs("json")

    with telemetry.carrying("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
        logging.getLogger("exporter.test").warning("poll failed")

    assert json.loads(lines()[0])["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


def test_without_an_endpoint_there_are_no_traces() -> None:
    finish = telemetry.configure_tracing(None, 1.0, role="test", version="0")

    with telemetry.span("poll", participant="12345678"):
        assert telemetry.traceparent() is None
    finish()


def test_spans_within_spans_are_one_trace_and_go_on_elsewhere(collector) -> None:
    finish = telemetry.configure_tracing(collector.endpoint, 1.0, role="test", version="1.2.3")

    with telemetry.span("poll", participant="12345678"), telemetry.span("bridge"):
        handed_on = telemetry.traceparent()
    with telemetry.carrying(handed_on), telemetry.span("evaluate"):
        pass
    finish()

    (spans,) = collector.traces().values()
    assert set(spans) == {"poll", "bridge", "evaluate"}
    assert spans["bridge"].parent_span_id == spans["poll"].span_id
    assert spans["evaluate"].parent_span_id == spans["bridge"].span_id
    assert collector.resources[0]["service.name"] == "dict-rate-limit"
    assert collector.resources[0]["dict_rate_limit.role"] == "test"


def test_a_share_of_none_samples_nothing(collector) -> None:
    finish = telemetry.configure_tracing(collector.endpoint, 0.0, role="test", version="1")

    with telemetry.span("poll"):
        pass
    finish()

    assert not collector.spans


def test_disabled_by_opentelemetrys_own_variable_there_are_no_traces_and_a_line_says_so(logs, monkeypatch) -> None:
    lines = logs("logfmt")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "True")

    finish = telemetry.configure_tracing("http://127.0.0.1:1", 1.0, role="test", version="1")

    with telemetry.span("poll"):
        assert telemetry.traceparent() is None
    finish()
    (line,) = lines()
    assert "OTEL_SDK_DISABLED" in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "soon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-1"),
    ],
)
def test_a_variable_that_opentelemetry_refuses_is_named(monkeypatch, name, value) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=rf"^tracing: .*: {name}$"):
        telemetry.configure_tracing("http://127.0.0.1:1", 1.0, role="test", version="1")


def test_without_an_endpoint_no_variable_of_opentelemetry_is_read(monkeypatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "0")

    telemetry.configure_tracing(None, 1.0, role="test", version="1")()


def test_opentelemetrys_variables_change_nothing_that_the_configuration_says(monkeypatch, collector) -> None:
    for name, value in (
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "false"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_SERVICE_NAME", "other"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment.name=staging"),
    ):
        monkeypatch.setenv(name, value)

    finish = telemetry.configure_tracing(collector.endpoint, 1.0, role="test", version="1")
    with telemetry.span("poll"):
        pass
    finish()

    assert len(collector.traces()) == 1
    assert collector.resources[0]["service.name"] == "dict-rate-limit"
    assert collector.resources[0]["deployment.environment.name"] == "staging"


def test_the_span_of_a_poll_that_failed_is_an_error_that_says_why(collector) -> None:
    settings = {"PARTICIPANTS": "12345678", "BRIDGE__TARGET": "127.0.0.1:1", "BRIDGE__INSECURE": "true"}
    settings |= {"BRIDGE__TIMEOUT": "1s", "POLL__INTERVAL": "1s"}
    with programs() as start:
        program = start(Program("exporter", **settings, TRACING__OTLP_ENDPOINT=collector.endpoint)).ready()
        names = {"poll", "bridge.GetRateLimitPolicies"}
        # Before the program is told to end: the poll that this interrupts has not failed.
        failed = wait_until(lambda: collector.whole(names))
        assert program.stop() == 0

    for spans in failed:
        for span in (spans["poll"], spans["bridge.GetRateLimitPolicies"]):
            assert span.status.code == Status.STATUS_CODE_ERROR
            assert "127.0.0.1:1 did not answer" in span.status.message


@pytest.mark.postgres
@pytest.mark.broker
def test_one_trace_goes_from_the_poll_to_the_event(tmp_path, collector, database_dsn, broker) -> None:
    with programs() as start:
        bridge = start(Bridge(tmp_path))
        program = start(
            Program(
                "run",
                **bridge.settings,
                DATABASE__DSN=database_dsn,
                PULSAR__SERVICE_URL=broker.url,
                PULSAR__TOPIC=broker.topic(),
                TRACING__OTLP_ENDPOINT=collector.endpoint,
            )
        ).ready()
        names = {"poll", "bridge.GetRateLimitPolicies", "evaluate", "persist", "relay"}
        whole = wait_until(lambda: collector.whole(names))[0]

        def told() -> list[dict[str, str]]:
            return [line for line in json_lines(program.output(0)) if line["msg"].startswith("alert ")]

        wait_until(lambda: {line["msg"] for line in told()} == {"alert firing", "alert resolved"})
        logged = told()
        assert program.stop() == 0

    assert {name: span.kind for name, span in whole.items()} == {
        "poll": Span.SPAN_KIND_INTERNAL,
        "bridge.GetRateLimitPolicies": Span.SPAN_KIND_CLIENT,
        "evaluate": Span.SPAN_KIND_INTERNAL,
        "persist": Span.SPAN_KIND_CLIENT,
        "relay": Span.SPAN_KIND_PRODUCER,
    }
    assert {span.status.code for span in whole.values()} == {Status.STATUS_CODE_UNSET}
    assert whole["poll"].trace_id.hex() in {line["trace_id"] for line in logged}
    assert all(datetime.fromisoformat(line["polled_at"]).tzinfo is not None for line in logged)
    firing = {"critical": "ERROR", "warning": "WARNING"}
    for line in logged:
        assert line["level"] == (firing[line["severity"]] if line["msg"] == "alert firing" else "INFO")
    assert whole["bridge.GetRateLimitPolicies"].parent_span_id == whole["poll"].span_id
    assert {a.key: a.value.string_value for a in whole["poll"].attributes}["participant"] == bridge.participants[0]

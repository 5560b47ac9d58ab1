"""Logs that machines read, and traces that a real OTLP endpoint receives."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from exporter import telemetry
from tests.support.collector import Collector
from tests.support.program import Bridge, Program, programs, wait_until

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
    assert line.pop("ts").endswith("Z")
    assert line == {"level": "WARNING", "logger": "exporter.test", "msg": "poll failed", "participant": "12345678"}


def test_a_log_line_is_one_event_in_logfmt(logs) -> None:
    lines = logs("logfmt")

    logging.getLogger("exporter.test").warning("poll failed", extra={"participant": "12345678", "policy": None})

    (line,) = lines()
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
        whole = wait_until(lambda: next((t for t in collector.traces().values() if names <= set(t)), None))
        assert program.stop() == 0

    assert whole["bridge.GetRateLimitPolicies"].parent_span_id == whole["poll"].span_id
    assert {a.key: a.value.string_value for a in whole["poll"].attributes}["participant"] == bridge.participants[0]

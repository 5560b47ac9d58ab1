"""What rules record on `/metrics`."""

from __future__ import annotations

import math

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.metrics import Metrics
from exporter.metrics.recorded import SERVED_SECONDS
from tests.support.clocks import Clock

A = (("participant", "11111111"), ("policy", "A"))
B = (("participant", "22222222"), ("policy", 'a "quoted" \\ one\nof two lines'))


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    return Metrics(clock)


def served(metrics: Metrics, name: str = "a:b", *, openmetrics: bool = False) -> dict[tuple[str, str], float]:
    parse = parse_openmetrics if openmetrics else parse_text
    families = list(parse(metrics.exposition(openmetrics=openmetrics).decode()))
    own = [family for family in families if family.name == name]
    assert len(own) < 2, "a family is told once"
    assert all(family.type == "unknown" for family in own)
    of_registry = {family.name: family.samples for family in metrics.registry.collect()}
    samples = [sample for family in own for sample in family.samples]
    assert [s.labels for s in samples] == [s.labels for s in of_registry.get(name, [])]
    return {(s.labels["participant"], s.labels["policy"]): s.value for s in samples}


@pytest.mark.parametrize("openmetrics", [True, False])
def test_what_is_recorded_about_each_participant_is_served_under_its_name(
    metrics: Metrics, *, openmetrics: bool
) -> None:
    metrics.recorded.publish("22222222", {("a:b", B): -math.inf, ("c_d", B): 2e300})
    metrics.recorded.publish("11111111", {("a:b", A): 0.1})

    assert served(metrics, openmetrics=openmetrics) == {
        ("11111111", "A"): 0.1,
        ("22222222", dict(B)["policy"]): -math.inf,
    }
    assert served(metrics, "c_d", openmetrics=openmetrics) == {("22222222", dict(B)["policy"]): 2e300}


def test_an_evaluation_takes_the_place_of_the_one_before(metrics: Metrics) -> None:
    metrics.recorded.publish("11111111", {("a:b", A): 1.0, ("c_d", A): 1.0})
    metrics.recorded.publish("11111111", {("a:b", A): 2.0})

    assert served(metrics) == {("11111111", "A"): 2.0}
    assert not served(metrics, "c_d")


def test_an_evaluation_that_records_nothing_leaves_nothing(metrics: Metrics) -> None:
    metrics.recorded.publish("11111111", {("a:b", A): 1.0})
    metrics.recorded.publish("11111111", {})

    assert not served(metrics)
    assert b"a:b" not in metrics.exposition()


def test_what_no_evaluation_follows_is_served_for_five_minutes(metrics: Metrics, clock: Clock) -> None:
    metrics.recorded.publish("11111111", {("a:b", A): 1.0})

    clock.seconds += SERVED_SECONDS - 1
    assert served(metrics)
    clock.seconds += 1
    assert not served(metrics)
    assert b"a:b" not in metrics.exposition()


def test_a_participant_that_is_removed_takes_it_along(metrics: Metrics) -> None:
    metrics.recorded.publish("11111111", {("a:b", A): 1.0})
    metrics.remove("11111111")

    assert not served(metrics)


def test_nothing_is_served_by_a_process_that_no_longer_evaluates(metrics: Metrics) -> None:
    metrics.recorded.publish("11111111", {("a:b", A): 1.0})
    metrics.recorded.clear()

    assert not served(metrics)

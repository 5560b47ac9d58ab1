"""What consumers are told of a transition."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from exporter.alerts.alert import AlertState, Reason, Transition
from exporter.alerts.event import event_of
from tests.support.builders import alert, at, bucket, observed


def firing(**given) -> Transition:
    """A transition to firing of an alert about a bucket that is nearly empty."""
    seen = replace(
        observed(bucket(6_000), rate=1_800.0, empty=600.0), lowest_available_tokens=5_000, error_429_rate=0.125
    )
    made = Transition(alert(seconds=30, active_since=at(0)), at(30), "A", seen, at(29))
    return replace(made, **given)


def about_the_participant() -> Transition:
    return Transition(alert("BridgeDown", policy=None, seconds=30), at(30), None, None, None)


def test_an_event_of_a_firing_alert_tells_all_that_is_known() -> None:
    event = event_of(firing())

    assert event.body == {
        "schema_version": "1.1",
        "event_id": str(event.event_id),
        "fingerprint": firing().alert.fingerprint,
        "alertname": "TokensLow",
        "state": "firing",
        "reason": None,
        "severity": "warning",
        "participant": "12345678",
        "policy": "ENTRIES_WRITE",
        "psp_category": "A",
        "value": 85.0,
        "available_tokens": 6_000,
        "lowest_available_tokens": 5_000,
        "capacity": 36_000,
        "utilization_percent": pytest.approx(100 * 30 / 36),
        "consumption_rate_per_minute": 1_800.0,
        "recovery_eta_seconds": 1_500.0,
        "exhaustion_projection_seconds": 600.0,
        "error_429_rate": 0.125,
        "starts_at": "2026-03-10T12:00:30+00:00",
        "ends_at": None,
        "observed_at": "2026-03-10T12:00:29+00:00",
        "labels": dict(firing().alert.labels),
        "annotations": {"summary": "tokens are low"},
    }


def test_an_event_of_an_alert_about_the_participant_has_no_figures() -> None:
    body = event_of(about_the_participant()).body

    figures = {
        "policy",
        "psp_category",
        "available_tokens",
        "capacity",
        "utilization_percent",
        "consumption_rate_per_minute",
        "recovery_eta_seconds",
        "exhaustion_projection_seconds",
        "observed_at",
    }
    assert {name for name in figures if body[name] is not None} == set()


def test_an_event_of_a_resolved_alert_says_when_and_why() -> None:
    resolved = replace(firing().alert, state=AlertState.RESOLVED, resolved_at=at(90), reason=Reason.POLICY_GONE)

    event = event_of(firing(alert=resolved, at=at(90)))

    assert (event.type, event.time) == ("dict.rate_limit.alert.resolved", at(90))
    assert (event.body["state"], event.body["reason"]) == ("resolved", "policy_gone")
    assert (event.body["starts_at"], event.body["ends_at"]) == (
        "2026-03-10T12:00:30+00:00",
        "2026-03-10T12:01:30+00:00",
    )


def test_the_envelope_says_what_happened_to_whom() -> None:
    event = event_of(firing())

    assert (event.type, event.time) == ("dict.rate_limit.alert.firing", at(30))
    assert event.subject == "12345678/ENTRIES_WRITE/TokensLow"
    assert event.fingerprint == firing().alert.fingerprint
    assert event_of(about_the_participant()).subject == "12345678/BridgeDown"


def test_a_transition_that_is_made_again_has_the_same_event_id_in_every_version() -> None:
    assert str(event_of(firing()).event_id) == "751a2657-1633-5fb9-8138-b88ec57898d0"


def test_another_state_and_another_instant_have_another_event_id() -> None:
    resolved = replace(firing().alert, state=AlertState.RESOLVED)

    ids = {event_of(t).event_id for t in (firing(), firing(at=at(45)), firing(alert=resolved))}

    assert len(ids) == 3


@pytest.mark.parametrize(
    ("value", "told"), [(0.0, 0.0), (-1.5, -1.5), (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN")]
)
def test_values_that_json_lacks_are_told_as_prometheus_writes_them(value, told) -> None:
    assert event_of(firing(alert=alert(value=value))).body["value"] == told


def test_a_bucket_that_is_not_draining_has_no_projection() -> None:
    event = event_of(firing(observation=observed(empty=math.inf)))

    assert event.body["exhaustion_projection_seconds"] is None


def test_a_bucket_that_is_empty_is_projected_to_be_so_now() -> None:
    event = event_of(firing(observation=observed(bucket(0), empty=0.0)))

    assert event.body["exhaustion_projection_seconds"] == 0
    assert event.body["available_tokens"] == 0

"""An alert as Alertmanager gets it: what Prometheus would send."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from zoneinfo import ZoneInfo

from exporter.alerts.alert import AlertState, Reason
from exporter.notifier.notice import Notice, figures, notice_of
from exporter.store.alerts_to_notify import BucketState, SpanSummary
from tests.support.builders import alert, at


def notice(made=None, *, external_url: str | None = "http://here:9862", **labels: str) -> Notice:
    return notice_of(made or alert(), {"tokens": "6"}, external_labels=labels, external_url=external_url)


def test_an_alert_that_fires_does_so_until_it_is_not_told_again() -> None:
    body = notice(alert(active_since=at(-60))).body(at(240))

    assert body == {
        "labels": {
            "alertname": "TokensLow",
            "severity": "warning",
            "participant": "12345678",
            "policy": "ENTRIES_WRITE",
        },
        "annotations": {"summary": "tokens are low", "tokens": "6"},
        "startsAt": "2026-03-10T12:00:00+00:00",  # firing since, not pending since
        "endsAt": "2026-03-10T12:04:00+00:00",
        "generatorURL": "http://here:9862/?participant=12345678&policy=ENTRIES_WRITE",
    }


def test_one_that_has_resolved_ends_when_it_did() -> None:
    over = replace(alert(), state=AlertState.RESOLVED, resolved_at=at(60), reason=Reason.RECOVERED)

    assert not notice(over).fires
    assert notice(over).body(at(240))["endsAt"] == "2026-03-10T12:01:00+00:00"


def test_external_labels_are_added_where_the_alert_has_none_of_the_name() -> None:
    labels = notice(region="sa-east-1", severity="none").labels

    assert labels["region"] == "sa-east-1"
    assert labels["severity"] == "warning"


def test_an_empty_label_is_none() -> None:
    made = alert()

    assert "team" not in notice(replace(made, labels={**made.labels, "team": ""})).labels


def test_the_link_is_to_the_participant_where_the_alert_has_no_bucket() -> None:
    made = notice(alert(policy=None), external_url="https://here/dict/")

    assert made.link == "https://here/dict/?participant=12345678"
    assert "generatorURL" not in notice(external_url=None).body(at(0))


ZONE = ZoneInfo("America/Sao_Paulo")
LEVEL = BucketState(
    answered=True,
    refused=False,
    available_tokens=6,
    capacity=70,
    utilization_percent=100 * 64 / 70,
    recovery_eta_seconds=64.9,
    exhaustion_projection_seconds=33.2,
    confirmed_at=at(0),
)


def shown(level: BucketState | None, summary: SpanSummary | None = None) -> dict[str, str]:
    return figures(alert(), level, summary, ZONE)


def summary(lowest: int, refused: int | None = None) -> SpanSummary:
    return SpanSummary(lowest, refused, at(0))


def test_everything_that_is_known_is_told() -> None:
    assert shown(LEVEL, summary(2, refused=14)) == {
        "lowest": "2",
        "refused": "14",
        "as_of": "2026-03-10 12:00:00 UTC (09:00:00 -03)",
        "tokens": "6",
        "capacity": "70",
        "used": "91.4 %",
        "empty_in": "33 s",
        "full_in": "1 min 5 s",
        "full_at": "2026-03-10 12:01:04 UTC (09:01:04 -03)",
    }


def test_a_bucket_that_is_not_draining_says_so() -> None:
    assert shown(replace(LEVEL, exhaustion_projection_seconds=float("inf")))["empty_in"] == "not draining"


def test_what_is_not_known_is_absent() -> None:
    assert shown(None) == {}
    assert "empty_in" not in shown(replace(LEVEL, exhaustion_projection_seconds=None))
    assert "lowest" not in shown(LEVEL)
    assert "refused" not in shown(LEVEL, summary(2, refused=None))
    assert "refused" not in shown(LEVEL, summary(2, refused=0))
    assert shown(BucketState(answered=True, refused=False)) == {}


def test_a_debt_is_told_as_such() -> None:
    assert shown(replace(LEVEL, available_tokens=-3))["tokens"] == "-3"


def test_an_alert_that_fires_on_while_the_bridge_is_silent_shows_what_was_last_known_as_that() -> None:
    assert shown(replace(LEVEL, answered=False), summary(2)) == {
        "tokens": "6",
        "capacity": "70",
        "used": "91.4 %",
        "lowest": "2",
        "as_of": "2026-03-10 12:00:00 UTC (09:00:00 -03)",
        "held": "the Bridge stopped answering",
    }


def test_so_does_one_whose_figures_are_refused() -> None:
    assert shown(replace(LEVEL, refused=True))["held"] == "its figures were refused"
    assert "empty_in" not in shown(replace(LEVEL, refused=True))


def test_an_alert_that_has_resolved_is_not_held() -> None:
    over = replace(alert(), state=AlertState.RESOLVED, resolved_at=at(60), reason=Reason.RECOVERED)

    made = figures(over, replace(LEVEL, answered=False), summary(2), ZoneInfo("UTC"))

    assert "held" not in made
    assert made["tokens"] == "6"
    assert made["as_of"] == f"{at(0).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

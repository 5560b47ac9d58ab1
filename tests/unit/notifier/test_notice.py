"""An alert as Alertmanager gets it: what Prometheus would send."""

from __future__ import annotations

from dataclasses import replace

from exporter.alerts.alert import AlertState, Reason
from exporter.notifier.notice import Notice, notice_of
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

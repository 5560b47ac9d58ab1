"""What an Alertmanager is told next."""

from __future__ import annotations

from dataclasses import replace

from exporter.alerts.alert import AlertState, Reason, Severity
from exporter.notifier.notice import Notice, notice_of
from exporter.notifier.target import Told, due
from tests.support.builders import alert, at


def notice(name: str = "A", *, over: bool = False, **given) -> Notice:
    made = alert(name, **given)
    if over:
        made = replace(made, state=AlertState.RESOLVED, resolved_at=at(60), reason=Reason.RECOVERED)
    return notice_of(made, {}, external_labels={}, external_url=None)


def told(*notices: Notice, at: float = 0.0, held: bool = False) -> dict:
    return {n.fingerprint: Told(n.instance, at, held) for n in notices}


def names(found: list[Notice]) -> list[str]:
    return [n.name for n in found]


def asked(notices, known, *, at: float = 0.0, hold: bool = False) -> list[Notice]:
    return due(notices, known, at=at, resend_seconds=60, hold=hold)


def test_what_is_new_is_told_at_once_the_most_severe_first() -> None:
    low, critical, older = notice("A"), notice("B", severity=Severity.CRITICAL), notice("C", seconds=-5)

    assert names(asked([low, critical, older], {})) == ["B", "C", "A"]


def test_what_was_told_is_told_again_after_the_interval() -> None:
    one = notice()

    assert asked([one], told(one, at=0), at=59.9) == []
    assert asked([one], told(one, at=0), at=60) == [one]


def test_a_change_of_state_is_told_at_once() -> None:
    fired, over = notice(), notice(over=True)

    assert asked([over], told(fired, at=0), at=1) == [over]


def test_another_instance_of_the_alert_is_told_at_once() -> None:
    earlier, later = notice(), notice(seconds=90)

    assert asked([later], told(earlier, at=0), at=1) == [later]


def test_what_is_new_goes_before_what_is_told_again_and_of_that_the_oldest() -> None:
    new, first, second = notice("New"), notice("First"), notice("Second")

    assert names(asked([second, first, new], told(first, at=1) | told(second, at=2), at=100)) == [
        "New",
        "First",
        "Second",
    ]


def test_what_fires_is_told_once_more_when_the_lease_is_about_to_end() -> None:
    fires, over = notice("A"), notice("B", over=True)

    assert asked([fires, over], told(fires, over, at=0), at=1, hold=True) == [fires]
    assert asked([fires, over], told(fires, over, at=0, held=True), at=1, hold=True) == []

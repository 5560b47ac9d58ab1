"""What an Alertmanager is sent next."""

from __future__ import annotations

from dataclasses import replace

from exporter.alerts.alert import AlertState, Reason, Severity
from exporter.notifier.notice import Notice, notice_of
from exporter.notifier.target import Sent, due
from tests.support.builders import alert, at


def notice(name: str = "A", *, over: bool = False, **given) -> Notice:
    made = alert(name, **given)
    if over:
        made = replace(made, state=AlertState.RESOLVED, resolved_at=at(60), reason=Reason.RECOVERED)
    return notice_of(made, {}, external_labels={}, external_url=None)


def sent(*notices: Notice, at: float = 0.0, extended: bool = False) -> dict:
    return {n.fingerprint: Sent(n.instance, at, extended) for n in notices}


def names(notices: list[Notice]) -> list[str]:
    return [n.name for n in notices]


def due_of(notices, already, *, at: float = 0.0, extend: bool = False) -> list[Notice]:
    return due(notices, already, at=at, resend_seconds=60, extend=extend)


def test_what_is_new_is_sent_at_once_the_most_severe_first() -> None:
    low, critical, older = notice("A"), notice("B", severity=Severity.CRITICAL), notice("C", seconds=-5)

    assert names(due_of([low, critical, older], {})) == ["B", "C", "A"]


def test_what_was_sent_is_sent_again_after_the_interval() -> None:
    one = notice()

    assert due_of([one], sent(one, at=0), at=59.9) == []
    assert due_of([one], sent(one, at=0), at=60) == [one]


def test_a_change_of_state_is_sent_at_once() -> None:
    fired, over = notice(), notice(over=True)

    assert due_of([over], sent(fired, at=0), at=1) == [over]


def test_another_instance_of_the_alert_is_sent_at_once() -> None:
    earlier, later = notice(), notice(seconds=90)

    assert due_of([later], sent(earlier, at=0), at=1) == [later]


def test_what_is_new_goes_before_what_is_sent_again_and_of_that_the_oldest() -> None:
    new, first, second = notice("New"), notice("First"), notice("Second")

    assert names(due_of([second, first, new], sent(first, at=1) | sent(second, at=2), at=100)) == [
        "New",
        "First",
        "Second",
    ]


def test_what_fires_is_sent_once_more_when_the_lease_is_about_to_end() -> None:
    fires, over = notice("A"), notice("B", over=True)

    assert due_of([fires, over], sent(fires, over, at=0), at=1, extend=True) == [fires]
    assert due_of([fires, over], sent(fires, over, at=0, extended=True), at=1, extend=True) == []

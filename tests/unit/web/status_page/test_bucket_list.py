"""The status page's list of buckets: order, filters, levels and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from exporter.alerts.alert import AlertState, Severity
from exporter.buckets.bucket import Ispb
from exporter.web.sources import CurrentState
from exporter.web.status_page.bucket_list import BUCKETS_PER_PAGE, list_buckets
from exporter.web.status_page.queries import StatusQuery
from tests.support.builders import PARTICIPANT, alert, at, bucket, failed, poll, view

if TYPE_CHECKING:
    from exporter.buckets.observation import View


def seen(participant: str = PARTICIPANT, **left: int) -> dict[Ispb, View]:
    """A participant whose buckets hold so many tokens of 100."""
    buckets = [bucket(tokens, policy=policy, capacity=100) for policy, tokens in left.items()]
    return {Ispb(participant): view(poll(*buckets, participant=participant))}


def order(views: dict[Ispb, View], *alerts: Any, **query: Any) -> list[str]:
    return [row.policy for row in list_buckets(CurrentState(at(0), views, alerts), StatusQuery(**query)).rows]


def test_the_emptiest_bucket_is_first():
    assert order(seen(FULL=100, LOW=15, HALF=50, DRY=0)) == ["DRY", "LOW", "HALF", "FULL"]


def test_a_bucket_with_an_alert_is_before_emptier_ones_and_the_severest_is_first():
    views = seen(DRY=0, WARNED=60, CRITICAL=70, PENDING=50)

    rows = order(
        views,
        alert(policy="WARNED", severity=Severity.WARNING),
        alert(policy="CRITICAL", severity=Severity.CRITICAL),
        alert(policy="PENDING", severity=Severity.CRITICAL, state=AlertState.PENDING),
    )

    assert rows == ["CRITICAL", "WARNED", "PENDING", "DRY"]


def test_a_row_has_its_own_alerts_worst_first():
    alerts = [alert("A", policy="X"), alert("B", policy="X", severity=Severity.CRITICAL), alert("C", policy=None)]

    [row] = list_buckets(CurrentState(at(0), seen(X=5), alerts), StatusQuery()).rows

    assert [shown.name for shown in row.alerts] == ["B", "A"]


@pytest.mark.parametrize(
    ("tokens", "level"), [(100, "ok"), (21, "ok"), (20, "warning"), (11, "warning"), (10, "critical"), (0, "empty")]
)
def test_a_level_begins_at_its_mark(tokens: int, level: str):
    [row] = list_buckets(CurrentState(at(0), seen(X=tokens), []), StatusQuery()).rows

    assert row.level == level


def test_filters_leave_what_was_asked_for():
    views = seen("11111111", A=5, B=50) | seen("11112222", A=90) | seen("22222222", A=1)

    def found(**query: Any) -> list[tuple[str, str]]:
        return [
            (row.participant, row.policy)
            for row in list_buckets(CurrentState(at(0), views, []), StatusQuery(**query)).rows
        ]

    assert found(participant="1111") == [("11111111", "A"), ("11111111", "B"), ("11112222", "A")]
    assert found(policy="B") == [("11111111", "B")]
    assert found(level="critical") == [("22222222", "A"), ("11111111", "A")]


def test_counts_by_level_do_not_depend_on_the_level_asked_for():
    page = list_buckets(CurrentState(at(0), seen(A=0, B=5, C=15, D=50), []), StatusQuery(level="empty"))

    assert page.at_most == {"ok": 4, "warning": 3, "critical": 2, "empty": 1}
    assert page.total == 1


def test_many_buckets_come_in_pages():
    views = seen(**{f"P{number:03d}": number % 101 for number in range(120)})

    pages = [list_buckets(CurrentState(at(0), views, []), StatusQuery(page=number)) for number in (1, 2, 3, 99)]

    assert [len(page.rows) for page in pages] == [BUCKETS_PER_PAGE, BUCKETS_PER_PAGE, 20, 20]
    assert [page.first for page in pages] == [0, 50, 100, 100]
    assert len({row.policy for page in pages[:3] for row in page.rows}) == 120


def test_no_buckets_are_one_empty_page():
    page = list_buckets(CurrentState(at(0), {}, []), StatusQuery())

    assert (page.rows, page.pages, page.total) == ([], 1, 0)


def test_a_bucket_that_the_last_poll_did_not_confirm_is_marked():
    views = {PARTICIPANT: view(poll(bucket(10, capacity=20)), failed(15))}

    [row] = list_buckets(CurrentState(at(0), views, []), StatusQuery()).rows

    assert not row.answered
    assert row.visible.observed_at == at(0)

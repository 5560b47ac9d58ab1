"""Alerts on their way to Alertmanagers that refuse, hang, want credentials, or are not there."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from exporter.config.configuration import load_settings
from exporter.config.secrets import Secret
from exporter.config.settings import AlertmanagerSettings, BasicAuthSettings, Settings, TlsSettings
from exporter.durations import Duration
from exporter.errors import DatabaseUnavailable
from exporter.metrics import Metrics
from exporter.notifier.notice import notice_of
from exporter.notifier.notifier import Notifier
from exporter.notifier.target import SendPermission, Target
from exporter.store.alerts_to_notify import AlertsToNotify
from tests.support.alertmanagers import StandInAlertmanager, stand_in
from tests.support.builders import alert, at, bucket, counts, poll
from tests.support.certificates import Authority
from tests.support.conditions import until
from tests.support.logs import logged
from tests.support.ports import free_port
from tests.support.stored import reconciled, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from exporter.buckets.bucket import Bucket
    from exporter.notifier.notice import Notice

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


@pytest.fixture
def alertmanager() -> Iterator[StandInAlertmanager]:
    with stand_in() as made:
        yield made


def notice(name: str) -> Notice:
    return notice_of(alert(name), {}, external_labels={}, external_url=None)


class Clockwork:
    """The permission to send, which a test may take away: ``seconds`` of it are left."""

    def __init__(self, seconds: float = 600) -> None:
        self.held_until = time.monotonic() + seconds
        self.permission = SendPermission(self, self)

    def now(self) -> datetime:
        return NOW


@asynccontextmanager
async def telling(
    url: str, *names: str, metrics: Metrics | None = None, permission: SendPermission | None = None, **settings: Any
) -> AsyncIterator[Target]:
    """A target that is told of these alerts."""
    settings.setdefault("timeout", Duration(5))
    made = Target(
        url,
        AlertmanagerSettings(targets=(url,), **settings),
        metrics=(metrics or Metrics()).notifier,
        permission=permission or Clockwork().permission,
        interval_seconds=15.0,
    )
    made.offer([notice(name) for name in names])
    task = asyncio.create_task(made.run())
    try:
        yield made
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def sample(metrics: Metrics, name: str, url: str) -> float | None:
    return metrics.registry.get_sample_value(f"dict_rate_limit_{name}", {"target": url})


async def test_alerts_are_posted_in_batches_and_counted(alertmanager: StandInAlertmanager) -> None:
    metrics = Metrics()

    async with telling(f"{alertmanager.url}/prefix/", *(f"A{n:03}" for n in range(150)), metrics=metrics) as target:
        url = target.url
        await until(lambda: sample(metrics, "notifications_total", url) == 150)
        assert target.message is None
        assert sample(metrics, "alertmanager_up", url) == 1

    assert [len(post) for post in alertmanager.posts] == [64, 64, 22]
    assert set(alertmanager.paths) == {"/prefix/api/v2/alerts"}
    assert alertmanager.posts[0][0]["endsAt"] == (NOW + timedelta(minutes=4)).isoformat()
    assert len(alertmanager.names()) == 150
    assert sample(metrics, "notification_errors_total", url) == 0
    assert sample(metrics, "notification_duration_seconds_count", url) == 3
    assert sample(metrics, "alertmanager_up", url) is None, "who does not send knows nothing of it"


async def test_with_nothing_to_tell_it_is_asked_all_the_same_whether_it_would_be_taken(
    alertmanager: StandInAlertmanager,
) -> None:
    async with telling(alertmanager.url, resend_interval=Duration(1)) as target:
        await until(lambda: len(alertmanager.posts) == 2)
        assert target.message is None

    assert alertmanager.posts == [[], []]


async def test_what_it_will_never_take_costs_the_others_nothing(alertmanager: StandInAlertmanager, caplog) -> None:
    metrics = Metrics()
    alertmanager.refuse("A013", "A077")

    async with telling(alertmanager.url, *(f"A{n:03}" for n in range(100)), metrics=metrics) as target:
        await until(lambda: len(alertmanager.names()) == 98)
        await until(lambda: sample(metrics, "notification_errors_total", alertmanager.url) == 2)
        assert target.message is None

    assert {"A013", "A077"}.isdisjoint(alertmanager.names())
    said = [record for record in caplog.records if "refused an alert" in record.message]
    assert {record.alertname for record in said} == {"A013", "A077"}
    assert 'error="it answers 400: bad: A013"' in caplog.text


async def test_what_was_refused_is_tried_again_with_the_next_round_and_said_once(
    alertmanager: StandInAlertmanager, caplog
) -> None:
    metrics = Metrics()
    alertmanager.refuse("Bad", status=422)

    async with telling(alertmanager.url, "Good", "Bad", metrics=metrics, resend_interval=Duration(1)):
        await until(lambda: (sample(metrics, "notification_errors_total", alertmanager.url) or 0) >= 2)
        alertmanager.say(200)
        await until(lambda: "Bad" in alertmanager.names())

    assert caplog.text.count("refused an alert") == 1


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (401, {}, "it answers 401: it wants alertmanager.basic_auth, bearer_token, or a certificate (tls)"),
        (404, {}, "it answers 404 at /api/v2/alerts: it is no Alertmanager, or has another prefix"),
        (
            302,
            {"Location": "https://b/x"},
            "it answers 302: it sends to https://b/x; name that in alertmanager.targets",
        ),
        (503, {}, "it answers 503: not now"),
    ],
)
async def test_why_it_takes_nothing_is_said(alertmanager, caplog, status, headers, said) -> None:
    metrics = Metrics()
    alertmanager.say(status, "not now", **headers)

    async with telling(alertmanager.url, "A", metrics=metrics) as target:
        await until(lambda: (sample(metrics, "notification_errors_total", alertmanager.url) or 0) >= 2)
        assert target.message == said
        assert sample(metrics, "alertmanager_up", alertmanager.url) == 0
        alertmanager.say(200)
        await until(lambda: alertmanager.names() == ["A"])
        await until(lambda: target.message is None)

    assert [
        error.startswith(said) for event, error in logged(caplog, "error") if event.startswith("Alertmanager unusable")
    ] == [True]


async def test_one_that_is_not_there_is_told_when_it_comes() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with telling(url, "A") as target:
        await until(lambda: target.message == "Connection refused")


async def test_a_name_that_nobody_knows_is_said() -> None:
    async with telling("http://nowhere.invalid:9093", "A") as target:
        await until(lambda: target.message not in (None, "not asked yet"))
        assert target.message in ("Name or service not known", "Temporary failure in name resolution")


async def test_a_token_that_no_header_can_hold_is_not_shown(alertmanager: StandInAlertmanager, caplog) -> None:
    async with telling(alertmanager.url, "A", bearer_token=Secret("hu\nsh")) as target:
        await until(lambda: target.message == "alertmanager.bearer_token: holds what no header can hold")

    assert "sh" not in caplog.text.replace("refresh", "")
    assert alertmanager.requests == []


async def test_one_that_hangs_is_given_up_after_the_timeout(alertmanager: StandInAlertmanager) -> None:
    alertmanager.hang(3)

    async with telling(alertmanager.url, "A", timeout=Duration(0.2)) as target:
        await until(lambda: target.message == "no answer within 0.2 s")


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 No\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 10_000)
                await writer.drain()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with telling(f"http://127.0.0.1:{port}", "A") as target:
            await until(lambda: target.message == f"it answers 503: {'x' * 300} ...")


async def test_nothing_is_told_once_the_lease_has_ended(alertmanager: StandInAlertmanager) -> None:
    metrics, clock = Metrics(), Clockwork()

    async with telling(alertmanager.url, "A", metrics=metrics, permission=clock.permission) as target:
        await until(lambda: alertmanager.names() == ["A"])
        clock.held_until = time.monotonic()
        target.offer([notice("A"), notice("B")])
        await until(lambda: "the lease has ended" in (target.message or ""))
        assert sample(metrics, "alertmanager_up", alertmanager.url) is None
        assert alertmanager.names() == ["A"]
        clock.held_until += 600
        await until(lambda: alertmanager.names() == ["A", "B"])


async def test_a_request_does_not_outlast_the_lease(alertmanager: StandInAlertmanager) -> None:
    alertmanager.hang(30)
    clock = Clockwork(0.3)
    began = time.monotonic()

    async with telling(alertmanager.url, "A", permission=clock.permission, timeout=Duration(30)) as target:
        await until(lambda: "the lease has ended" in (target.message or ""))

    assert time.monotonic() - began < 5


async def test_the_last_word_before_the_lease_ends_is_good_for_a_day(alertmanager: StandInAlertmanager) -> None:
    async with telling(alertmanager.url, "A") as target:
        await until(lambda: len(alertmanager.posts) == 1)
        target.extend(extend=True)
        await until(lambda: len(alertmanager.posts) == 2)
        target.extend(extend=True)

    assert [post[0]["endsAt"] for post in alertmanager.posts] == [
        (NOW + timedelta(minutes=4)).isoformat(),
        (NOW + timedelta(days=1)).isoformat(),
    ]


async def test_a_password_is_sent(alertmanager: StandInAlertmanager) -> None:
    basic = BasicAuthSettings(username="us", password=Secret("hush"))
    async with telling(alertmanager.url, "A", basic_auth=basic):
        await until(lambda: alertmanager.posts)
    async with telling(alertmanager.url, "A", bearer_token=Secret("token")):
        await until(lambda: len(alertmanager.posts) == 2)

    assert [request["Authorization"] for request in alertmanager.requests] == ["Basic dXM6aHVzaA==", "Bearer token"]


async def test_a_token_is_what_its_file_holds_now(alertmanager: StandInAlertmanager, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one")
    settings = load_settings(None, {"DICT_RATE_LIMIT_ALERTMANAGER__BEARER_TOKEN_FILE": str(file)})

    async with telling(alertmanager.url, bearer_token=settings.alertmanager.bearer_token, resend_interval=Duration(1)):
        await until(lambda: alertmanager.posts)
        file.write_text("another")
        await until(lambda: alertmanager.requests[-1]["Authorization"] == "Bearer another")


async def test_both_sides_show_certificates_and_renewed_ones_are_used(tmp_path: Path, caplog) -> None:
    authority = Authority(tmp_path)
    server = authority.issue("server", ["alertmanager.example"])
    tls = authority.tls("client", server_name="alertmanager.example")
    with stand_in(TlsSettings(ca_file=authority.ca_file, cert_file=server.cert_file, key_file=server.key_file)) as own:
        async with telling(own.url, tls=tls, resend_interval=Duration(1)) as target:
            await until(lambda: own.posts)
            authority.issue("client")
            before = len(own.posts)
            await until(lambda: len(own.posts) > before + 1)
            (tmp_path / "client.key").write_text("half")
            await until(
                lambda: "changed certificates are unusable" in caplog.text and "alertmanager.tls" in caplog.text
            )
            before = len(own.posts)
            await until(lambda: len(own.posts) > before + 1)
            assert target.message is None
            authority.issue("client")
        taken = len(own.posts)
        async with telling(own.url, tls=TlsSettings(ca_file=tls.ca_file, server_name="another")) as target:
            await until(lambda: "its certificate is not trusted: Hostname mismatch" in (target.message or ""))
        async with telling(own.url, tls=TlsSettings(ca_file=tls.ca_file, server_name=tls.server_name)) as target:
            # It says so, or it is gone before that is read.
            await until(lambda: target.message not in (None, "not asked yet"))
        assert len(own.posts) == taken


@asynccontextmanager
async def notifying(
    notifications: AlertsToNotify, permission: SendPermission, *urls: str, **settings: Any
) -> AsyncIterator[asyncio.Event]:
    """A notifier at work; yields what wakes it."""
    wake = asyncio.Event()
    made = Notifier(
        Settings(alertmanager=AlertmanagerSettings(targets=urls, **settings), external_labels={"region": "here"}),
        notifications,
        metrics=Metrics().notifier,
        wake=wake,
        permission=permission,
        external_url=None,
    )
    task = asyncio.create_task(made.run())
    try:
        yield wake
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.postgres
async def test_what_is_committed_is_told_at_once_with_its_buckets_figures(
    database_dsn: str, alertmanager: StandInAlertmanager
) -> None:
    async with stored(database_dsn) as store:
        async with notifying(AlertsToNotify(store.database), Clockwork().permission, alertmanager.url) as wake:
            await until(lambda: alertmanager.posts)
            assert alertmanager.names() == []
            await store.commit(reconciled(after=(alert("A"),), poll=poll(counted(6_000, refused=2))))
            wake.set()
            await until(lambda: alertmanager.names() == ["A"], seconds=5)
            await store.commit(poll(counted(500, refused=12), seconds=15))
            await store.commit(reconciled(30, before=(alert("A"),), poll=poll(counted(30_000, refused=45), seconds=30)))
            wake.set()
            await until(lambda: alertmanager.names() == ["A", "A"], seconds=5)

        ((fired,), (over,)) = [post for post in alertmanager.posts if post]
        assert fired["labels"]["region"] == "here"
        assert fired["annotations"]["tokens"] == "6000"
        assert fired["annotations"]["lowest"] == "6000"
        assert over["endsAt"] == at(30).isoformat()
        assert "refused" not in fired["annotations"]  # nothing says how many there had been before
        assert over["annotations"]["lowest"] == "500"
        assert over["annotations"]["refused"] == "43"
        assert over["annotations"]["used"] == "16.7 %"


def counted(tokens: int, refused: int) -> Bucket:
    return bucket(tokens, response_counts=counts(1_000, 0, refused))


class Slow(AlertsToNotify):
    """The database has no time for figures."""

    async def levels(self, buckets: Any) -> Any:
        raise DatabaseUnavailable

    async def summaries(self, spans: Any) -> Any:
        raise DatabaseUnavailable


@pytest.mark.postgres
async def test_an_alert_waits_for_no_figure(database_dsn: str, alertmanager: StandInAlertmanager) -> None:
    async with stored(database_dsn) as store:
        await store.commit(reconciled(after=(alert("A"),), poll=poll(bucket(6_000))))
        async with notifying(Slow(store.database), Clockwork().permission, alertmanager.url):
            await until(lambda: "A" in alertmanager.names())

    ((told,),) = [post for post in alertmanager.posts if post]
    assert told["annotations"] == {"summary": "tokens are low"}


@pytest.mark.postgres
async def test_while_the_database_is_away_what_was_seen_last_is_told_again(
    database_dsn: str, alertmanager: StandInAlertmanager
) -> None:
    async with stored(database_dsn) as store:
        await store.commit(reconciled(after=(alert("A"),)))
        own = AlertsToNotify(store.database)
        async with notifying(own, Clockwork().permission, alertmanager.url, resend_interval=Duration(1)):
            await until(lambda: "A" in alertmanager.names())
            await store.database.close()
            seen = len(alertmanager.names())
            await until(lambda: len(alertmanager.names()) >= seen + 3)


@pytest.mark.postgres
async def test_what_fires_is_held_when_the_lease_is_not_renewed(
    database_dsn: str, alertmanager: StandInAlertmanager
) -> None:
    async with stored(database_dsn) as store:
        await store.commit(reconciled(after=(alert("A"),)))
        clock = Clockwork()
        async with notifying(AlertsToNotify(store.database), clock.permission, alertmanager.url):
            await until(lambda: alertmanager.names() == ["A"])
            clock.held_until = time.monotonic() + 2
            await until(lambda: alertmanager.names() == ["A", "A"])

        assert alertmanager.posts[-1][0]["endsAt"] == (NOW + timedelta(days=1)).isoformat()

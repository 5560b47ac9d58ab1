"""The paths, and what each answers."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from exporter.config.settings import WebSettings
from exporter.errors import RuleFileInvalid
from exporter.health import Dependency, Readiness
from exporter.metrics import Metrics
from exporter.web.app import create_app
from exporter.web.sources import RuleGroupStatus, RuleStatus, Sources
from tests.support.builders import PARTICIPANT, POLICY, alert, poll, view

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATHS = [
    "/metrics",
    "/-/healthy",
    "/-/ready",
    "/api/v1/alerts",
    "/api/v1/rules",
    "/api/v1/buckets",
    f"/api/v1/headroom?participant={PARTICIPANT}",
]


def sources(**given: Any) -> Sources:
    metrics = Metrics()
    metrics.publish(view())
    given.setdefault("metrics", metrics)
    given.setdefault("views", lambda: {PARTICIPANT: view(replace(poll(), polled_at=datetime.now(UTC)))})
    given.setdefault("readiness", lambda: Readiness(ready=True, dependencies=[]))
    return Sources(**given)


def client(settings: WebSettings | None = None, **given: Any) -> httpx.AsyncClient:
    app = create_app(sources(**given), settings or WebSettings())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exporter")


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_answers_get_and_head(path: str):
    async with client() as http:
        got = await http.get(path)
        head = await http.head(path)

    assert (got.status_code, head.status_code) == (200, 200)
    assert got.content
    assert not head.content
    assert got.headers["content-type"] == head.headers["content-type"]


@pytest.mark.parametrize("path", ["/metrics/", "/nothing", "/-/quit", "/static/", "/static/../app.py", "/favicon.ico"])
async def test_any_other_path_is_not_found(path: str):
    async with client() as http:
        assert (await http.get(path)).status_code == 404


@pytest.mark.parametrize("path", [*PATHS, "/nothing", "/-/reload"])
async def test_answers_are_not_stored_sniffed_or_framed(path: str):
    async with client() as http:
        headers = (await http.get(path)).headers

    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]


async def test_metrics_are_text_by_default():
    async with client() as http:
        answer = await http.get("/metrics", headers={"Accept-Encoding": "identity"})

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "content-encoding" not in answer.headers
    assert f'dict_rate_limit_up{{participant="{PARTICIPANT}"}} 1.0' in answer.text


async def test_metrics_are_openmetrics_and_gzip_where_asked():
    accept = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
    async with client() as http, http.stream("GET", "/metrics", headers=accept) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])

    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw).endswith(b"# EOF\n")


async def test_ready_names_dependencies_and_a_dependency_that_is_away_does_not_make_it_503():
    away = Dependency("database", ok=False, message="database unreachable")
    async with client(readiness=lambda: Readiness(ready=True, dependencies=[away])) as http:
        answer = await http.get("/-/ready")

    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True,
        "dependencies": [{"name": "database", "ok": False, "message": "database unreachable"}],
    }


async def test_ready_is_503_before():
    async with client(readiness=lambda: Readiness(ready=False, dependencies=[])) as http:
        assert (await http.get("/-/ready")).status_code == 503
        assert (await http.get("/-/healthy")).status_code == 200


class Reloads:
    def __init__(self, error: Exception | None = None) -> None:
        self.asked = 0
        self.error = error

    async def __call__(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error


def reloading(reload: Callable[[], Awaitable[None]] | None, *, enabled: bool = True) -> httpx.AsyncClient:
    return client(WebSettings(enable_lifecycle=enabled), reload=reload)


async def test_reload_is_off_unless_enabled():
    reload = Reloads()
    async with reloading(reload, enabled=False) as http:
        answer = await http.post("/-/reload")

    assert (answer.status_code, reload.asked) == (403, 0)
    assert "--web.enable-lifecycle" in answer.text


async def test_reload_reloads():
    reload = Reloads()
    async with reloading(reload) as http:
        assert (await http.post("/-/reload")).status_code == 200
        assert (await http.put("/-/reload")).status_code == 200
        assert (await http.get("/-/reload")).status_code == 405

    assert reload.asked == 2


async def test_a_reload_of_a_bad_file_says_what_is_wrong():
    async with reloading(Reloads(RuleFileInvalid("rules/a.yml:3: dict/TokensLow: no such metric"))) as http:
        answer = await http.post("/-/reload")

    assert answer.status_code == 400
    assert "rules/a.yml:3: dict/TokensLow: no such metric" in answer.text


async def test_a_role_without_rules_has_nothing_to_reload():
    async with reloading(None) as http:
        assert (await http.post("/-/reload")).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://elsewhere"},
        {"Origin": "http://exporter:81"},
        {"Origin": "http://exporter.elsewhere"},
        {"Origin": "null"},
        {"Referer": "http://elsewhere/exporter"},
    ],
)
async def test_another_site_cannot_make_a_browser_reload(headers: dict[str, str]):
    reload = Reloads()
    async with reloading(reload) as http:
        answer = await http.post("/-/reload", headers=headers)

    assert (answer.status_code, reload.asked) == (403, 0)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "http://exporter"}, {"Origin": "https://Exporter"}, {"Referer": "http://exporter/?policy=A"}],
)
async def test_the_servers_own_page_and_no_page_at_all_may_reload(headers: dict[str, str]):
    reload = Reloads()
    async with reloading(reload) as http:
        answer = await http.post("/-/reload", headers=headers)

    assert (answer.status_code, reload.asked) == (200, 1)


@pytest.mark.parametrize(
    ("allowed", "status"),
    [((), 200), (("exporter",), 200), (("other", "exporter"), 200), (("*.example",), 400), (("other",), 400)],
)
async def test_only_hosts_that_are_listed_are_answered(allowed: tuple[str, ...], status: int):
    async with client(WebSettings(allowed_hosts=allowed)) as http:
        assert (await http.get("/metrics")).status_code == status


async def test_an_exporter_without_reconciler_has_no_alerts_and_no_rules():
    async with client() as http:
        assert (await http.get("/api/v1/alerts")).json()["data"] == {"alerts": []}
        assert (await http.get("/api/v1/rules")).json()["data"] == {"groups": []}


@pytest.mark.parametrize("path", ["/api/v1/alerts", "/api/v1/rules"])
async def test_alerts_that_may_not_be_those_of_now_come_with_a_warning(path):
    now = datetime.now(UTC)

    def groups(evaluated_at: datetime | None) -> list[RuleGroupStatus]:
        rule = RuleStatus("TokensLow", "dict_rate_limit_up == 0", 0.0, 0.0, evaluated_at=evaluated_at)
        return [RuleGroupStatus("dict", "rules/a.yml", 0.0, [rule])]

    answers = []
    for evaluated_at in (now, now - timedelta(minutes=15), None):
        async with client(rules=lambda at=evaluated_at: groups(at)) as http:
            answers.append((await http.get(path)).json().get("warnings"))

    fresh, [old], [never] = answers
    assert fresh is None
    assert "no rule has been evaluated for 15m" in old
    assert "this process has evaluated no rule yet" in never


async def test_alerts_and_rules_come_from_the_reconciler():
    rule = RuleStatus("TokensLow", "dict_rate_limit_up == 0", 0.0, 0.0, labels={"severity": "warning"})
    groups = [RuleGroupStatus("dict", "rules/a.yml", 0.0, [rule])]
    async with client(open_alerts=lambda: [alert()], rules=lambda: groups) as http:
        alerts = (await http.get("/api/v1/alerts")).json()["data"]["alerts"]
        every = (await http.get("/api/v1/rules")).json()["data"]["groups"]
        bare = (await http.get("/api/v1/rules?exclude_alerts=true")).json()["data"]["groups"]
        recording = (await http.get("/api/v1/rules?type=record")).json()["data"]["groups"]
        wrong = await http.get("/api/v1/rules?type=other")

    assert [found["labels"]["alertname"] for found in alerts] == ["TokensLow"]
    assert len(every[0]["rules"][0]["alerts"]) == 1
    assert bare[0]["rules"][0]["alerts"] == []
    assert recording == []
    assert (wrong.status_code, wrong.json()["errorType"]) == (400, "bad_data")


async def test_buckets_are_filtered_by_the_query():
    async with client() as http:
        answer = await http.get("/api/v1/buckets?participant=00000000&policy=ENTRIES_WRITE")

    assert answer.json()["data"] == {"participants": []}


async def test_headroom_is_asked_for_by_participant_policies_and_tokens():
    async with client() as http:
        answer = await http.get(f"/api/v1/headroom?participant={PARTICIPANT}&policy={POLICY}&tokens=40000")

    (bucket,) = answer.json()["data"]["buckets"]
    assert (bucket["policy"], bucket["retry_after_seconds"]) == (POLICY, None)


@pytest.mark.parametrize(
    ("query", "status", "kind"),
    [
        ("", 400, "bad_data"),
        (f"?participant={PARTICIPANT}&tokens=0", 400, "bad_data"),
        ("?participant=87654321", 404, "not_found"),
    ],
)
async def test_headroom_that_cannot_be_told_is_an_error_as_prometheus_writes_it(query, status, kind):
    async with client() as http:
        answer = await http.get(f"/api/v1/headroom{query}")

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert answer.json().keys() == {"status", "errorType", "error"}
    assert (answer.json()["status"], answer.json()["errorType"]) == ("error", kind)

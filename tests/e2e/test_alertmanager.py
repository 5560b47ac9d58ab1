"""Alerts on their way to people: Prometheus, Alertmanager, and a receiver where Slack and PagerDuty stand."""

from __future__ import annotations

import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from alertmanager.generate import ALERTS, META_ALERTS, RULES, generated
from exporter.rules.export import figures
from tests.support.program import ROOT, Bridge, Program, wait_until
from tests.support.prometheus import Alertmanager, Prometheus, run, servers
from tests.support.releases import RELEASES, binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.prometheus

FOLDER = ROOT / "alertmanager"
RUNBOOKS = "https://github.com/lb-conn/dict-rate-limit-exporter/blob/main/docs/runbooks"
ROUTING_KEY = "0123456789abcdef0123456789abcdef"

# KEYS_CHECK falls to 1 % between two polls, stays there, and recovers within a minute and a half.
SCENARIO = """
description: A bucket nearly empties at once and recovers; the category changes.
step: 1s
category: E
sizes:
  POLICIES_LIST: {capacity: 10000, refill_tokens: 6000}
  KEYS_CHECK: {capacity: 1000, refill_tokens: 10, refill_period: 1s}
traffic:
  - policies: [KEYS_CHECK]
    from: 19s
    until: 20s
    requests_per_minute: 59600
  - policies: [KEYS_CHECK]
    from: 20s
    until: 45s
    requests_per_minute: 600
category_changes:
  - {at: 15s, category: F}
"""


class Receiver:
    """An HTTP server that keeps what is posted to it, by path."""

    def __init__(self) -> None:
        received: list[tuple[str, dict[str, Any]]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.path, json.loads(body)))
                self.send_response(202 if self.path == "/pagerduty" else 200)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *arguments: object) -> None:
                pass

        self.received = received
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def at(self, path: str) -> list[dict[str, Any]]:
        return [body for to, body in self.received if to == path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Any], Any]]:
    with servers() as start:
        yield start


def paging_at_once(folder: Path) -> Path:
    """Copies the rules; what does not recover within four seconds wakes a person."""
    text = ALERTS.read_text()
    assert text.count("240") == 2
    made = folder / "alerts.yml"
    made.write_text(text.replace("240", "4"))
    return made


def installed(folder: Path, receiver: Receiver) -> Path:
    """Copies the shipped configuration; addresses, secrets and waiting times are the test's."""
    made = folder / "alertmanager"
    shutil.copytree(FOLDER, made)
    (folder / "slack_api_url").write_text(f"{receiver.url}/slack")
    (folder / "pagerduty_routing_key").write_text(ROUTING_KEY)
    file = made / "alertmanager.yml"
    text = file.read_text()
    for shipped, here in (
        ("/run/secrets/", f"{folder}/"),
        ("https://events.pagerduty.com/v2/enqueue", f"{receiver.url}/pagerduty"),
        ("http://alert-log:9880/alerts", f"{receiver.url}/log"),
        ("group_wait: 15s", "group_wait: 1s"),
        ("group_wait: 5s", "group_wait: 1s"),
        ("group_interval: 1m", "group_interval: 1s"),
    ):
        assert shipped in text
        text = text.replace(shipped, here)
    file.write_text(text)
    return file


def test_an_alert_and_its_end_reach_slack_pagerduty_and_the_log(tmp_path, start, serve, receiver) -> None:
    bridge = Bridge(tmp_path, SCENARIO)
    exporter = start(Program("exporter", **bridge.settings))
    start(bridge)  # after it: on a busy machine its start would take up the scenario's first seconds
    exporter.ready()
    alertmanager = serve(Alertmanager(tmp_path, installed(tmp_path, receiver)))
    serve(
        Prometheus.scraping(
            tmp_path,
            {"dict-rate-limit-exporter": [f"127.0.0.1:{exporter.port}"]},
            rules=[paging_at_once(tmp_path), META_ALERTS],
            alertmanager=alertmanager.address,
        )
    )
    (who,) = bridge.participants

    def slack(title: str) -> list[dict[str, Any]]:
        return [m for m in receiver.at("/slack") if m["attachments"][0]["title"].startswith(title)]

    wait_until(lambda: slack("[CRITICAL]"), within_seconds=60, what="a critical alert in Slack")
    wait_until(lambda: receiver.at("/pagerduty"), within_seconds=60, what="an incident in PagerDuty")
    wait_until(lambda: len(receiver.at("/pagerduty")) > 1, within_seconds=120, what="its end in PagerDuty")
    wait_until(lambda: len(slack("[RESOLVED]")) > 1, within_seconds=90, what="the ends of both levels in Slack")
    wait_until(lambda: receiver.at("/log"), what="the change of category in the log")

    _check_slack(slack("[CRITICAL]")[0], who)
    _check_pagerduty(receiver.at("/pagerduty"), who)
    _check_resolved(slack("[RESOLVED]"), who)
    # The warning was silent while the bucket was critical, and came after it.
    titles = [m["attachments"][0]["title"] for m in receiver.at("/slack")]
    firing = [title for title in titles if not title.startswith("[RESOLVED]")]
    assert all(re.fullmatch(TITLE.format(who=who), title) for title in firing), firing
    assert [title.split()[0] for title in firing][:: len(firing) - 1] == ["[CRITICAL]", "[WARNING]"]
    assert titles[-1].startswith(f"[RESOLVED] KEYS_CHECK {who}: was low for ")
    (told,) = receiver.at("/log")
    assert told["receiver"] == "log"
    assert told["groupLabels"] == {"participant": who}
    assert [a["labels"]["alertname"] for a in told["alerts"]] == ["DictRateLimitCategoryChanged"]
    assert told["alerts"][0]["annotations"]["runbook_url"] == f"{RUNBOOKS}/DictRateLimitCategoryChanged.md"


TITLE = (
    r"\[(CRITICAL|WARNING)\] KEYS_CHECK {who}: (\d+) of 1000 left, (lowest \d+, )?"
    r"(not recovering|(full|empty) in \d+ (s|min( \d+ s)?))( \(\+\d\))?"
)


def _check_slack(message: dict[str, Any], who: str) -> None:
    board = f"http://localhost:3000/d/dict-rate-limit-bucket?var-participant={who}&var-policy=KEYS_CHECK"
    runbook = f"{RUNBOOKS}/DictRateLimitTokensCritical.md"
    assert message["channel"] == "#dict-rate-limit"
    assert message["username"] == "dict-rate-limit"
    (attachment,) = message["attachments"]
    assert attachment["color"] == "danger"
    assert attachment["title"] == attachment["fallback"]
    title = attachment["title"]
    assert re.fullmatch(TITLE.format(who=who), title)
    assert attachment["title_link"] == board
    assert [(a["type"], a["text"], a["url"]) for a in attachment["actions"]] == [
        ("button", "Dashboard", board),
        ("button", "Runbook", runbook),
    ]
    what, described, *figures, since, links = attachment["text"].splitlines()
    assert what == f"*FIRING DictRateLimitTokensCritical* (critical): {title.removeprefix('[CRITICAL] ')}"
    assert re.fullmatch(r"The bucket was down to \d(\.\d)?% of its tokens\. With none, DICT answers .*", described)
    _check_figures(figures, who)
    assert re.fullmatch(rf"Since: {TIMES}", since)
    assert links == f"<{board}|Dashboard> · <{runbook}|Runbook>"


TIMES = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(\d\d:\d\d:\d\d -03\)"
"""UTC, and the time of São Paulo: the servers run there."""


def _check_figures(figures: list[str], who: str) -> None:
    """What, where, how bad, how long until empty, when full again: and the figures agree with each other."""
    where, bad, empty, full = figures
    assert where == f"Where: bucket KEYS_CHECK of participant {who}"
    found = re.fullmatch(rf"How bad: (\d+) of 1000 tokens left, (\d+\.\d) % used, lowest (\d+), as of {TIMES}", bad)
    assert found, bad
    tokens, used, lowest = int(found[1]), float(found[2]), int(found[3])
    assert 0 < lowest <= tokens <= 100
    assert used == pytest.approx(100 - tokens / 10)
    assert re.fullmatch(r"Empty in: (not draining|\d+ (s|h|min)( \d+ (s|min))?)", empty), empty
    again = re.fullmatch(rf"Full again: in (\d) min(?: (\d+) s)?, at {TIMES}, if nothing is consumed", full)
    assert again, full
    assert 60 * int(again[1]) + int(again[2] or 0) == (1000 - tokens + 5) // 10  # at 10 a second, to the nearest second


def _check_pagerduty(incidents: list[dict[str, Any]], who: str) -> None:
    trigger, *_, end = incidents
    board = f"http://localhost:3000/d/dict-rate-limit-bucket?var-participant={who}&var-policy=KEYS_CHECK"
    assert trigger["routing_key"] == ROUTING_KEY
    assert trigger["event_action"] == "trigger"
    assert len(trigger["dedup_key"]) == 64
    assert trigger["client"] == "dict-rate-limit"
    assert trigger["client_url"] == board
    assert trigger["links"] == [
        {"href": board, "text": "Dashboard"},
        {"href": f"{RUNBOOKS}/DictRateLimitNotRecovering.md", "text": "Runbook"},
    ]
    payload = trigger["payload"]
    assert re.fullmatch(TITLE.format(who=who), payload["summary"])
    assert payload["severity"] == "critical"
    assert payload["class"] == "DictRateLimitNotRecovering"
    assert payload["component"] == "KEYS_CHECK"
    assert payload["group"] == who
    details = payload["custom_details"]
    assert (int(details["num_firing"]), int(details["num_resolved"])) == (1, 0)
    what, _described, *figures, since, dashboard, runbook, count = details["alerts"].splitlines()
    assert what.startswith("FIRING DictRateLimitNotRecovering (critical): KEYS_CHECK")
    _check_figures(figures, who)
    assert since.startswith("Since: ")
    assert dashboard == f"Dashboard: {board}"
    assert runbook == f"Runbook: {RUNBOOKS}/DictRateLimitNotRecovering.md"
    assert count == "1 firing, 0 resolved"

    assert end["event_action"] == "resolve"
    assert end["dedup_key"] == trigger["dedup_key"]
    assert end["routing_key"] == ROUTING_KEY


def _check_resolved(messages: list[dict[str, Any]], who: str) -> None:
    """They tell what was, how long, and how low it came."""
    for message in messages:
        (attachment,) = message["attachments"]
        assert attachment["color"] == "good"
        title, (first, where, lasted, *_) = attachment["title"], attachment["text"].splitlines()
        told = re.fullmatch(
            rf"\[RESOLVED\] KEYS_CHECK {who}: (was nearly empty|was low|did not recover by itself)"
            r" for (\d+ (?:s|min(?: \d+ s)?)), lowest (\d+) of 1000( \(\+\d\))?",
            title,
        )
        assert told, title
        assert 0 < int(told[3]) <= 100
        assert first.startswith("*RESOLVED DictRateLimit")
        assert where == f"Where: bucket KEYS_CHECK of participant {who}"
        assert re.fullmatch(rf"Lasted: {told[2]}, from {TIMES} to {TIMES}", lasted), lasted


BUCKET = {"participant": "12345678", "policy": "KEYS_CHECK"}
CRITICAL = {**BUCKET, "alertname": "DictRateLimitTokensCritical", "severity": "critical"}
LOW = {**BUCKET, "alertname": "DictRateLimitTokensLow", "severity": "warning"}
EMPTY = {**BUCKET, "alertname": "DictRateLimitBucketEmpty", "severity": "critical"}
THROTTLED = {**BUCKET, "alertname": "DictRateLimitThrottled", "severity": "critical"}
STUCK = {**BUCKET, "alertname": "DictRateLimitNotRecovering", "severity": "critical"}
DOWN = {"participant": "12345678", "alertname": "DictRateLimitBridgeDown", "severity": "critical"}
BRIDGE = {"participant": "12345678", "alertname": "DictRateLimitBridgeNotAnswering", "severity": "critical"}
STALE = {"participant": "12345678", "alertname": "DictRateLimitDataStale", "severity": "critical"}
CATEGORY = {"participant": "12345678", "alertname": "DictRateLimitCategoryChanged", "severity": "info"}
OUTBOX = {"alertname": "DictRateLimitOutboxLagging", "severity": "warning"}


@pytest.mark.parametrize(
    ("active", "silent"),
    [
        pytest.param([CRITICAL, LOW], [LOW], id="critical silences the warning of its bucket"),
        pytest.param([CRITICAL, {**LOW, "policy": "CLAIMS_READ"}], [], id="not that of another bucket"),
        pytest.param([CRITICAL, {**LOW, "participant": "00000208"}], [], id="nor of another participant"),
        pytest.param([EMPTY, CRITICAL, LOW], [CRITICAL, LOW], id="empty silences both"),
        pytest.param([THROTTLED, EMPTY, CRITICAL, LOW], [EMPTY, CRITICAL, LOW], id="refused calls silence all three"),
        pytest.param([BRIDGE, EMPTY, STALE], [EMPTY, STALE], id="a silent Bridge silences what it blinds"),
        pytest.param(
            [STUCK, THROTTLED, EMPTY, CRITICAL, LOW],
            [THROTTLED, EMPTY, CRITICAL, LOW],
            id="not recovering silences all four",
        ),
        pytest.param([DOWN, BRIDGE], [BRIDGE], id="a Bridge that is down is said once"),
        pytest.param([BRIDGE, CATEGORY, OUTBOX], [], id="and nothing else"),
        pytest.param([BRIDGE, {**EMPTY, "participant": "00000208"}], [], id="nor anybody else"),
        pytest.param([OUTBOX, STALE], [], id="alerts without a bucket leave each other alone"),
    ],
)
def test_worse_alerts_silence_lesser_ones(tmp_path, serve, receiver, active, silent) -> None:
    alertmanager = serve(Alertmanager(tmp_path, installed(tmp_path, receiver)))
    # It takes them in turn: where the last of them silences another, it has looked at all.
    last = [{**LOW, "participant": "99999999"}, {**CRITICAL, "participant": "99999999"}]

    alertmanager.post([{"labels": labels} for labels in (*active, *last)])

    def suppressed() -> set[frozenset[tuple[str, str]]]:
        found = alertmanager.alerts()
        assert len(found) == len(active) + len(last)
        return {frozenset(alert["labels"].items()) for alert in found if alert["status"]["inhibitedBy"]}

    wait_until(lambda: frozenset(last[0].items()) in suppressed(), what="Alertmanager to have looked at every alert")
    assert suppressed() == {frozenset(labels.items()) for labels in (*silent, last[0])}


def test_the_links_of_a_notification_are_those_of_the_alert_in_its_title(tmp_path, serve, receiver) -> None:
    alertmanager = serve(Alertmanager(tmp_path, installed(tmp_path, receiver)))
    both = [
        {
            "labels": {**LOW, "policy": policy},
            "annotations": {"summary": f"{policy} is low", "runbook_url": f"{RUNBOOKS}/{policy}.md"},
        }
        for policy in ("CLAIMS_READ", "KEYS_CHECK")
    ]
    resolved, fires = both

    alertmanager.post(both)
    wait_until(lambda: receiver.at("/slack"), what="both alerts in Slack")
    alertmanager.post([{**resolved, "endsAt": "2026-01-01T00:00:00Z"}, fires])
    last = wait_until(
        lambda: [m for m in receiver.at("/slack") if "RESOLVED" in m["attachments"][0]["text"]], what="the end of one"
    )

    (attachment,) = last[0]["attachments"]
    board = "http://localhost:3000/d/dict-rate-limit-bucket?var-participant=12345678&var-policy=KEYS_CHECK"
    assert attachment["title"] == "[WARNING] 12345678: KEYS_CHECK is low"  # whose, where its summary does not say it
    assert attachment["title_link"] == board
    assert [a["url"] for a in attachment["actions"]] == [board, f"{RUNBOOKS}/KEYS_CHECK.md"]


def critical(policy: str, used: str = "94.3 %", **annotations: str) -> dict[str, Any]:
    """An alert as it is posted, with what alerts.yml annotates it with."""
    shown = {
        "summary": f"{policy} 12345678: not recovering by itself",
        "summary_resolved": f"{policy} 12345678: did not recover by itself",
        "description": f"{used} of the bucket is used.",
        "runbook_url": f"{RUNBOOKS}/DictRateLimitNotRecovering.md",
        "tokens": "12",
        "capacity": "200",
        "used": used,
        "lowest": "8",
        "empty_in": "4 min 10 s",
        "full_in": "30 min 0 s",
        "full_at": "2026-11-27 05:00:00 UTC (02:00:00 -03)",
        "as_of": "2026-11-27 04:30:00 UTC (01:30:00 -03)",
        "held": "",
    }
    return {"labels": {**STUCK, "policy": policy}, "annotations": {**shown, **annotations}}


def test_of_31_critical_buckets_a_message_shows_the_worst_ten_and_counts_the_others(tmp_path, serve, receiver) -> None:
    alertmanager = serve(Alertmanager(tmp_path, installed(tmp_path, receiver)))

    alertmanager.post([critical(f"POLICY_{n:02}", used=f"{n}.5 %") for n in range(70, 101)])
    wait_until(lambda: receiver.at("/slack") and len(receiver.at("/pagerduty")) == 31, what="all messages")

    (attachment,) = receiver.at("/slack")[0]["attachments"]
    worst, listed, links = attachment["text"].split("\n\n")
    assert attachment["title"] == "[CRITICAL] POLICY_100 12345678: 12 of 200 left, lowest 8, empty in 4 min 10 s (+30)"
    assert attachment["title_link"].endswith("?var-participant=12345678&var-policy=POLICY_100")
    assert worst.startswith("*FIRING DictRateLimitNotRecovering* (critical): POLICY_100 12345678: 12 of 200 left")
    assert listed.splitlines() == [
        "*31 FIRING, the worst first*",
        "DictRateLimitNotRecovering (critical)",
        *(f"POLICY_{n} 12345678: 12 of 200 left, empty in 4 min 10 s, full in 30 min 0 s" for n in range(100, 90, -1)),
        "and 21 more",
    ]
    every = f"{alertmanager.url}/#/alerts?receiver=slack&filter=%7Bparticipant%3D%2212345678%22%7D"
    board = "http://localhost:3000/d/dict-rate-limit-overview?var-participant=12345678"
    assert links == f"All: <{every}|Alertmanager> · <{board}|Dashboard>"
    assert len(attachment["text"].encode()) < 4000


def test_another_failure_is_another_incident(tmp_path, serve, receiver) -> None:
    alertmanager = serve(Alertmanager(tmp_path, installed(tmp_path, receiver)))
    gone = {"alertname": "DictRateLimitExporterGone", "severity": "critical", "job": "dict-rate-limit-exporter"}
    failures = [STUCK, {**STUCK, "policy": "CLAIMS_READ"}, DOWN, {**STUCK, "participant": "00000208"}]
    failures += [{**gone, "instance": "a:9862"}, {**gone, "instance": "b:9862"}]
    failures.append({"alertname": "DictRateLimitReconcilerGone", "severity": "critical"})
    elsewhere = {**BRIDGE, "participant": "99999999"}

    alertmanager.post([{"labels": labels} for labels in (*failures, CRITICAL, EMPTY, elsewhere)])
    wait_until(lambda: len(receiver.at("/pagerduty")) >= len(failures), what="all incidents")

    incidents = receiver.at("/pagerduty")
    assert len({incident["dedup_key"] for incident in incidents}) == len(incidents) == len(failures)
    assert {incident["payload"]["custom_details"]["num_firing"] for incident in incidents} <= {"1", 1}


@pytest.mark.parametrize("character", ["x", "ã", "😀", "<", "\n", "$1 "], ids=ascii)
def test_a_message_of_300_alerts_holds_however_long_their_texts_are(tmp_path, serve, receiver, character) -> None:
    alertmanager = serve(Alertmanager(tmp_path, installed(tmp_path, receiver)))
    alerts = [critical(f"POLICY_{n:03}") for n in range(300)]
    for n, alert in enumerate(alerts):
        alert["labels"] |= {"alertname": f"Own{n % 40}{character * 100}", "policy": f"{n:03}{character * 300}"}
        alert["annotations"] = dict.fromkeys(alert["annotations"], character * 2000)

    alertmanager.post(alerts)
    wait_until(lambda: receiver.at("/slack") and receiver.at("/pagerduty"), what="both messages")
    ended = "2026-01-01T00:00:00Z"
    alertmanager.post([{**alert, "endsAt": ended} if n % 2 else alert for n, alert in enumerate(alerts)])
    wait_until(
        lambda: len(receiver.at("/slack")) > 1 and len(receiver.at("/pagerduty")) > 1, what="the ends of half of them"
    )

    for message in receiver.at("/slack"):
        (attachment,) = message["attachments"]
        assert len(attachment["text"].encode()) <= 8000
        assert len(attachment["title"]) <= 300
        # One may be sent while alerts are still coming in.
        assert re.search(r" \(\+[1-9]\d{1,2}\)$", attachment["title"])
        assert all(len(action["url"]) <= 600 for action in attachment["actions"])
        assert [int(n) for n in re.findall(r"^and (\d+) more$", attachment["text"], re.MULTILINE)]
    for event in receiver.at("/pagerduty"):
        assert len(json.dumps(event)) < 50_000
        payload = event["payload"]
        assert max(len(payload[name].encode()) for name in ("class", "component", "group")) <= 255
        assert len(payload["summary"]) <= 300
        assert "error" not in payload["custom_details"]
        assert all(len(link["href"]) <= 600 for link in event["links"])


def rendered(folder: Path, template: str, alerts: list[dict[str, Any]], status: str = "firing") -> str:
    """Returns what a template makes of alerts, in the order in which Alertmanager would hand them over."""
    since = {"status": "firing", "startsAt": "2026-01-01T00:00:00Z"}
    data = {
        "status": status,
        "receiver": "slack",
        "groupLabels": {"participant": "12345678"},
        "externalURL": "http://alertmanager",
        "alerts": [{**since, **alert} for alert in alerts],
    }
    file = folder / "data.json"
    file.write_text(json.dumps(data))
    right, told = run(
        "amtool", "template", "render", f"--template.glob={FOLDER}/templates/*.tmpl", f"--template.data={file}",
        f'--template.text={{{{ template "dict_rate_limit.{template}" . }}}}',
    )  # fmt: skip
    assert right, told
    return told.removesuffix("\n")


ENDED = {"status": "resolved", "endsAt": "2026-01-01T01:00:00Z"}


def test_the_worst_come_first(tmp_path) -> None:
    alerts = [
        {"labels": {**CATEGORY, "severity": "unheard-of"}, "annotations": {"summary": "new category"}},
        {**critical("CLAIMS_READ"), **ENDED},
        {"labels": LOW, "annotations": {"summary": "low"}},
        critical("POLICY_LOW", used="9.0 %"),
        critical("POLICY_A", used="94.5 %"),
        critical("POLICY_B", used="94.5 %"),
        critical("POLICY_FULL", used="100.0 %"),
        {**critical("POLICY_EMPTY", used="90.0 %"), "labels": {**EMPTY, "policy": "POLICY_EMPTY"}},
        {**critical("POLICY_429", used="20.0 %", refused="38"), "labels": {**THROTTLED, "policy": "POLICY_429"}},
        {"labels": BRIDGE, "annotations": {"summary": "12345678: the Bridge does not answer"}},
    ]

    text = rendered(tmp_path, "slack", alerts)

    left = "12 of 200 left, empty in 4 min 10 s, full in 30 min 0 s"
    _, firing, resolved, _ = text.split("\n\n")
    assert text.startswith(
        "*FIRING DictRateLimitBridgeNotAnswering* (critical): 12345678: the Bridge does not answer\n"
    )
    assert firing.splitlines() == [
        "*9 FIRING, the worst first*",
        "DictRateLimitBridgeNotAnswering (critical)",
        "12345678: the Bridge does not answer",
        "DictRateLimitNotRecovering (critical)",
        "POLICY_FULL 12345678: " + left,
        "POLICY_A 12345678: " + left,
        "POLICY_B 12345678: " + left,
        "POLICY_LOW 12345678: " + left,
        "DictRateLimitThrottled (critical)",
        "POLICY_429 12345678: 12 of 200 left, 38 calls refused, empty in 4 min 10 s, full in 30 min 0 s",
        "DictRateLimitBucketEmpty (critical)",
        "POLICY_EMPTY 12345678: " + left,
        "DictRateLimitTokensLow (warning)",
        "KEYS_CHECK 12345678: low",
        "DictRateLimitCategoryChanged (unheard-of)",
        "12345678: new category",
    ]
    assert resolved.splitlines() == [
        "*1 RESOLVED*",
        "DictRateLimitNotRecovering (critical)",
        "CLAIMS_READ 12345678: over after 1 h, at 2026-01-01 01:00:00 UTC",
    ]
    assert rendered(tmp_path, "title", alerts) == "[CRITICAL] 12345678: the Bridge does not answer (+8)"
    assert rendered(tmp_path, "colour", alerts) == "danger"


def test_an_alert_of_several_participants_says_whose_each_bucket_is(tmp_path) -> None:
    alerts = [critical("KEYS_CHECK"), critical("KEYS_CHECK")]
    alerts[1]["labels"]["participant"] = "00000208"

    text = rendered(tmp_path, "slack", alerts)

    assert "KEYS_CHECK 12345678: 12" in text
    assert "KEYS_CHECK 00000208: 12" in text


def test_details_are_a_text_however_much_they_look_like_yaml(tmp_path) -> None:
    alerts = [critical("KEYS_CHECK", description="")]

    text = rendered(tmp_path, "text", alerts)

    # Newer Alertmanagers send what they can read as YAML as that.
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(text)


def test_each_alert_name_and_each_link_is_given_once_and_whole(tmp_path) -> None:
    alerts = [critical("KEYS_CHECK"), {"labels": BRIDGE}, critical("A&B #1", runbook_url="https://x/" + "y" * 1000)]

    assert rendered(tmp_path, "alertnames", alerts) == "DictRateLimitNotRecovering, DictRateLimitBridgeNotAnswering"
    assert rendered(tmp_path, "title_dashboard", alerts[2:]).endswith("&var-policy=A%26B+%231")
    assert rendered(tmp_path, "title_runbook", alerts[2:]) == f"{RUNBOOKS}/README.md"


def test_every_template_orders_alerts_by_the_same_key() -> None:
    text = (FOLDER / "templates" / "dict-rate-limit.tmpl").read_text()

    assert len(set(re.findall(r'printf "%t.*?\.Annotations\.used', text))) == 1


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("severity=critical", "pagerduty,slack"),
        ("severity=critical alertname=DictRateLimitNotRecovering", "pagerduty,slack"),
        ("severity=critical alertname=DictRateLimitBridgeDown", "pagerduty,slack"),
        # The levels, and the first minutes: they are seen, and wake nobody.
        ("severity=critical alertname=DictRateLimitTokensCritical", "slack"),
        ("severity=critical alertname=DictRateLimitBucketEmpty", "slack"),
        ("severity=critical alertname=DictRateLimitThrottled", "slack"),
        ("severity=critical alertname=DictRateLimitBridgeNotAnswering", "slack"),
        ("severity=warning", "slack"),
        ("severity=info", "log"),
        ("alertname=Whatever", "slack"),
    ],
)
def test_each_alert_has_its_receivers(labels, receivers) -> None:
    right, told = run(
        "amtool", "config", "routes", "test", f"--config.file={FOLDER / 'alertmanager.yml'}",
        f"--verify.receivers={receivers}", *labels.split(),
    )  # fmt: skip

    assert right, told


LEVEL = {"summary": "s", "summary_resolved": "KEYS_CHECK 12345678: was low", "tokens": "6", "capacity": "70"}


@pytest.mark.parametrize(
    ("labels", "annotations", "headline"),
    [
        (CRITICAL, {**LEVEL, "empty_in": "33 s", "full_in": "55 s"}, "6 of 70 left, empty in 33 s"),
        (CRITICAL, {**LEVEL, "empty_in": "not draining", "full_in": "55 s"}, "6 of 70 left, full in 55 s"),
        (CRITICAL, LEVEL, "6 of 70 left"),
        (EMPTY, {**LEVEL, "tokens": "0", "empty_in": "0 s", "full_in": "1 min 0 s"}, "0 of 70 left, DICT answers 429"),
        (EMPTY, {**LEVEL, "tokens": "-12", "full_in": "1 min 9 s"}, "-12 of 70 left, DICT answers 429"),
        (STUCK, {**LEVEL, "tokens": "0"}, "0 of 70 left, DICT answers 429, not recovering"),
        (THROTTLED, {**LEVEL, "tokens": "0", "lowest": "0", "refused": "38"}, "0 of 70 left, 38 calls refused"),
        (
            THROTTLED,
            {**LEVEL, "tokens": "56", "lowest": "0", "refused": "38", "empty_in": "not draining", "full_in": "12 s"},
            "56 of 70 left, lowest 0, 38 calls refused, full in 12 s",
        ),
        (THROTTLED, {**LEVEL, "tokens": "56", "full_in": "12 s"}, "56 of 70 left, calls refused, full in 12 s"),
        (THROTTLED, {**LEVEL, "tokens": "0", "refused": "1"}, "0 of 70 left, 1 call refused"),
        (CRITICAL, {**LEVEL, "lowest": "6", "empty_in": "33 s"}, "6 of 70 left, empty in 33 s"),
        (STUCK, {**LEVEL, "tokens": "0", "refused": "38"}, "0 of 70 left, 38 calls refused, not recovering"),
        (STUCK, {**LEVEL, "empty_in": "not draining"}, "6 of 70 left, not recovering"),
        (
            CRITICAL,
            {**LEVEL, "empty_in": "33 s", "held": "the Bridge stopped answering"},
            "6 of 70 left, then the Bridge stopped answering",
        ),
    ],
)
def test_a_headline_tells_what_who_how_bad_and_how_long(tmp_path, labels, annotations, headline) -> None:
    alert = {"labels": labels, "annotations": annotations}

    assert rendered(tmp_path, "title", [alert]) == f"[CRITICAL] KEYS_CHECK 12345678: {headline}"


def test_what_is_over_is_told_in_the_past_with_how_long_it_was_and_how_low(tmp_path) -> None:
    level = {"labels": CRITICAL, "annotations": {**LEVEL, "lowest": "4"}, **ENDED}
    refused = {"labels": CRITICAL, "annotations": {**LEVEL, "lowest": "0", "refused": "38"}, **ENDED}
    own = {"labels": {**BUCKET, "alertname": "Own"}, "annotations": {"summary": "much is amiss"}, **ENDED}

    assert rendered(tmp_path, "title", [level], "resolved") == (
        "[RESOLVED] KEYS_CHECK 12345678: was low for 1 h, lowest 4 of 70"
    )
    assert rendered(tmp_path, "title", [refused], "resolved").endswith(", lowest 0 of 70, 38 calls refused")
    assert rendered(tmp_path, "title", [own], "resolved") == ("[RESOLVED] 12345678: much is amiss: over, after 1 h")
    assert "How bad" not in rendered(tmp_path, "text", [level], "resolved")


def test_an_alert_that_is_held_shows_what_was_last_known_as_that(tmp_path) -> None:
    alert = critical("KEYS_CHECK", held="the Bridge stopped answering")

    text = rendered(tmp_path, "text", [alert])

    assert (
        "Last known: 12 of 200 tokens left, 94.3 % used, lowest 8, as of 2026-11-27 04:30:00 UTC (01:30:00 -03); "
        "then the Bridge stopped answering\n"
    ) in text
    assert "Empty in" not in text
    assert "Full again" not in text


def test_a_text_cannot_call_the_channel(tmp_path) -> None:
    annotations = {"summary": "a < b <!channel>", "description": "<https://evil|here>"}

    text = rendered(tmp_path, "slack", [{"labels": {**BRIDGE, "alertname": "Own"}, "annotations": annotations}])

    assert "a < b < !channel>" in text
    assert "< https://evil|here>" in text


def test_times_are_told_in_utc_and_in_sao_paulos_or_alertmanagers_own_zone(tmp_path, monkeypatch) -> None:
    alert = {"labels": BRIDGE, "annotations": {}}

    for zone, local in (("UTC", "21:00:00 -03"), ("America/Sao_Paulo", "21:00:00 -03"), ("Asia/Tokyo", "09:00:00 JST")):
        monkeypatch.setenv("TZ", zone)
        assert f"Since: 2026-01-01 00:00:00 UTC ({local})\n" in rendered(tmp_path, "text", [alert])


def test_a_bucket_alert_without_figures_is_shown_without_them(tmp_path) -> None:
    alert = {"status": "firing", "labels": LOW, "annotations": {"summary": "low"}, "startsAt": "2026-01-01T00:00:00Z"}
    data = tmp_path / "data.json"
    data.write_text(json.dumps({"status": "firing", "alerts": [alert]}))

    right, told = run(
        "amtool", "template", "render", f"--template.glob={FOLDER}/templates/*.tmpl", f"--template.data={data}",
        '--template.text={{ template "dict_rate_limit.text" . }}',
    )  # fmt: skip

    assert right, told
    assert "Where: bucket KEYS_CHECK of participant 12345678\nSince: 2026-01-01" in told


def test_amtool_accepts_the_configuration() -> None:
    right, told = run("amtool", "check-config", FOLDER / "alertmanager.yml")

    assert right, told
    assert "1 templates" in told


@pytest.mark.parametrize("release", RELEASES)
def test_promtool_accepts_the_configuration_and_every_rule(release) -> None:
    right, told = run(binary("promtool", release), "check", "config", FOLDER / "prometheus.yml")

    assert right, told
    assert "2 rule files found" in told


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("file", sorted((FOLDER / "tests").glob("*.yml")), ids=lambda file: file.name)
def test_rules_do_what_their_unit_tests_say(file, release) -> None:
    right, told = run(binary("promtool", release), "test", "rules", file)

    assert right, told


def test_every_meta_alert_has_a_unit_test() -> None:
    tests = yaml.safe_load((FOLDER / "tests" / "meta-alerts.test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}

    rules = [rule for group in yaml.safe_load(META_ALERTS.read_text())["groups"] for rule in group["rules"]]

    assert fired == {rule["alert"] for rule in rules}
    assert {rule["annotations"]["runbook_url"] for rule in rules} == {f"{RUNBOOKS}/{name}.md" for name in fired}
    assert {rule["labels"]["severity"] for rule in rules} <= {"critical", "warning"}
    assert all(rule["annotations"].keys() >= {"summary", "summary_resolved", "description"} for rule in rules)


def test_what_follows_from_the_rules_is_current() -> None:
    assert {path: path.read_text() for path in generated()} == generated()


def test_prometheus_loads_the_shipped_rules_with_nothing_but_annotations_added() -> None:
    shipped = [group for path in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]]
    loaded = yaml.safe_load(ALERTS.read_text())["groups"]

    for group in loaded:
        for rule in group["rules"]:
            for name in figures(rule["alert"]):
                del rule["annotations"][name]

    assert loaded == shipped


def test_no_secret_is_in_the_configuration() -> None:
    configuration = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    assert configuration["global"]["slack_api_url_file"] == "/run/secrets/slack_api_url"
    for receiver in configuration["receivers"]:
        for pagerduty in receiver.get("pagerduty_configs", []):
            assert pagerduty["routing_key_file"] == "/run/secrets/pagerduty_routing_key"
            assert not pagerduty.keys() & {"routing_key", "service_key"}


def test_alerts_without_texts_are_called_by_their_names_and_what_they_share_is_said_once(tmp_path) -> None:
    bare = [{"labels": {"alertname": "Bare", "severity": "critical"}, "annotations": {}} for _ in range(12)]

    assert rendered(tmp_path, "title", bare) == "[CRITICAL] Bare (+11)"
    assert rendered(tmp_path, "policies", bare) == "- and 2 more"
    assert "|Runbook>" in rendered(tmp_path, "slack", bare)
    assert "<|" not in rendered(tmp_path, "slack", bare)

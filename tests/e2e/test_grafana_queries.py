"""Every query of every panel, variable and annotation, run as Grafana runs it, over a real run: none is empty."""

from __future__ import annotations

import copy
import json
import math
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from alertmanager.generate import ALERTS
from tests.support import truth
from tests.support.ports import free_port
from tests.support.program import ROOT, RULES, Bridge, Program, wait_until
from tests.support.prometheus import Prometheus, servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.postgres, pytest.mark.prometheus]

DASHBOARDS = [json.loads(path.read_text()) for path in sorted((ROOT / "grafana/dashboards").glob("*.json"))]
POLICY = "KEYS_CHECK"

# As alertmanager/prometheus.yml names them.
JOBS = {"exporter": "dict-rate-limit-exporter", "reconciler": "dict-rate-limit-reconciler", "run": "dict-rate-limit"}

# Panels that have nothing to show where exporter and reconciler are one process.
NO_FEED = {"Feed"}

# No poll is lost in the test's run, and these say so.
ZERO = {"Snapshots lost in 24 h", "Snapshots lost per hour"}
_FALLBACK = re.compile(r" or (?:on \(\) )?(?:vector\(0\)|label_replace\(vector\(0\),.*\))$")

# A bucket that drains and empties; 404s; bad answers; a Bridge that is away for a while.
SCENARIO = """
description: Everything that a panel shows happens within half a minute.
step: 1s
category: E
sizes:
  POLICIES_LIST: {capacity: 10000, refill_tokens: 6000}
  KEYS_CHECK: {capacity: 1000, refill_tokens: 10, refill_period: 1s}
  CLAIMS_LIST_WITH_ROLE: {capacity: 200, refill_tokens: 1, refill_period: 60s}
traffic:
  - policies: [KEYS_CHECK, CLAIMS_LIST_WITH_ROLE]
    from: 3s
    requests_per_minute: 4000
    not_found: 0.5
  - policies: [ENTRIES_WRITE, CLAIMS_READ]
    share_of_refill: 0.5
    not_found: 0.1
faults:
  - {kind: garbage, from: 5s, until: 8s, every: 60s}
  - {kind: outage, from: 12s, until: 15s, every: 60s}
"""

# A match of many with many: no load refuses it, each evaluation fails.
BROKEN_RULE = """
groups:
  - name: broken
    rules:
      - alert: Ambiguous
        expr: |
          dict_rate_limit_available_tokens * on (participant) dict_rate_limit_capacity > 0
        labels: {severity: info}
"""


@pytest.fixture
def serve() -> Iterator[Callable[[Any], Any]]:
    with servers() as start:
        yield start


@dataclass(frozen=True)
class Grafana:
    """What Grafana does to a query before it sends it. Times are in seconds since 1970."""

    participants: tuple[str, ...]
    began: float
    ended: float
    many: bool
    """Whether its participant variable takes several."""

    def promql(self, expr: str) -> str:
        who = f"({'|'.join(self.participants)})" if self.many else self.participants[0]
        which = f"({POLICY}|CLAIMS_READ)" if self.many else POLICY
        made = expr.replace("$__rate_interval", "10s").replace("$participant", who).replace("$policy", which)
        assert "$" not in made, made
        return made

    def sql(self, text: str) -> str:
        start, end = (f"'{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}'" for at in (self.began, self.ended))
        made = re.sub(r"\$__timeFilter\(([\w.]+)\)", rf"\1 BETWEEN {start} AND {end}", text)
        made = made.replace("$__timeFrom()", start).replace("$__timeTo()", end)
        who = ",".join(f"'{name}'" for name in (self.participants if self.many else self.participants[:1]))
        made = made.replace("${participant:sqlstring}", who).replace("${policy:sqlstring}", f"'{POLICY}'")
        assert "$" not in made, made
        return made


def many(board: dict[str, Any]) -> bool:
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    return bool(variables["participant"].get("multi"))


@pytest.mark.parametrize("commands", [("exporter", "reconciler"), ("run",)], ids="+".join)
def test_no_panel_is_empty_or_in_error(tmp_path, start, serve, database_dsn, reader_dsn, commands) -> None:
    began = time.time() - 60
    bridge = start(Bridge(tmp_path, SCENARIO, participants=2))
    broken = tmp_path / "broken.yml"
    broken.write_text(BROKEN_RULE)
    address = f"127.0.0.1:{free_port()}"
    feed = {"FEED__INSECURE": "true"}
    more = {
        "exporter": feed | {"FEED__LISTEN_ADDRESS": address},
        "reconciler": feed | {"FEED__TARGETS": address, "DATABASE__DSN": database_dsn},
        "run": {"DATABASE__DSN": database_dsn},
    }
    rules = {"RULES__FILES": f"{RULES},{broken}"}
    jobs = {}
    for command in commands:
        program = start(Program(command, **bridge.settings, **more[command], **rules))
        jobs[JOBS[command]] = [f"127.0.0.1:{program.port}"]
    prometheus = serve(Prometheus.scraping(tmp_path, jobs, rules=[ALERTS]))
    for severity in ("critical", "warning"):
        who = f"participant = '{bridge.participants[0]}' AND policy = '{POLICY}'"
        firing = f"state = 'firing' AND severity = '{severity}' AND {who}"
        wait_until(
            lambda firing=firing: truth.count(database_dsn, "dict_rate_limit_alerts", firing),
            within_seconds=90,
            what=firing,
        )
    # The last things to come: two scrapes apart, and calls are refused only after the alerts have fired.
    refused = f'participant="{bridge.participants[0]}", policy="{POLICY}", outcome="rate_limited"'
    for expr in (
        'increase(dict_rate_limit_answer_defects_total{reason!=""}[1h])',
        f"rate(dict_rate_limit_responses_total{{{refused}}}[10s]) > 0",
    ):
        wait_until(lambda expr=expr: prometheus.query(expr), within_seconds=60, what=expr)

    problems = []
    for board in copy.deepcopy(DASHBOARDS):
        # It writes whole seconds: the last one counts.
        grafana = Grafana(tuple(bridge.participants), began, time.time() + 1, many(board))
        board["panels"] = [p for p in board["panels"] if "reconciler" in commands or p["title"] not in NO_FEED]
        problems += [f"{board['title']}: {p}" for p in _promql_problems(board, grafana, prometheus)]
        problems += [f"{board['title']}: {p}" for p in _variable_problems(board, grafana, prometheus)]
        problems += [f"{board['title']}: {p}" for p in _sql_problems(board, grafana, reader_dsn)]

    assert not problems, "\n".join(problems)


def _promql_problems(board: dict[str, Any], grafana: Grafana, prometheus: Prometheus) -> Iterator[str]:
    for panel in board["panels"]:
        fields: set[str] = set()
        for target in panel["targets"]:
            if "expr" in target:
                where = f"{panel['title']} {target['refId']}"
                expr = target["expr"] if panel["title"] in ZERO else _FALLBACK.sub("", target["expr"])
                values, labels = _answer(target | {"expr": expr}, grafana, prometheus)
                if not any(math.isfinite(value) for value in values):
                    yield f"{where}: empty: {expr}"
                named = set(re.findall(r"{{(\w+)}}", target.get("legendFormat") or ""))
                for series in labels:
                    if panel["type"] != "table" and set(series) - {"__name__"} != named:
                        yield f"{where}: the legend names {named}, a series has {set(series)}"
                fields |= {name for series in labels for name in series} | {f"Value #{target['refId']}"}
        if panel["type"] == "table" and fields:
            yield from _missing_columns(panel, fields)


def _variable_problems(board: dict[str, Any], grafana: Grafana, prometheus: Prometheus) -> Iterator[str]:
    for variable in board["templating"]["list"]:
        if label := re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]):
            values = prometheus.get(f"/api/v1/label/{label[2]}/values", **{"match[]": grafana.promql(label[1])})
            if not values["data"]:
                yield f"variable {variable['name']} is empty"


def _answer(
    target: dict[str, Any], grafana: Grafana, prometheus: Prometheus
) -> tuple[list[float], list[dict[str, str]]]:
    """Returns all values of a query's series, and each one's labels."""
    expr = grafana.promql(target["expr"])
    if target.get("instant"):
        # A bucket may not be draining at this instant: a table shows what there is at any.
        moments = [grafana.ended - back for back in range(0, int(grafana.ended - grafana.began), 2)]
        series = next((found for at in moments if (found := prometheus.query(expr, at))), [])
        return [float(s["value"][1]) for s in series], [s["metric"] for s in series]
    series = prometheus.query_range(expr, grafana.began, grafana.ended)
    return [float(v) for s in series for _, v in s["values"]], [s["metric"] for s in series]


def _sql_problems(board: dict[str, Any], grafana: Grafana, dsn: str) -> Iterator[str]:
    with psycopg.connect(dsn, autocommit=True, options="-c TimeZone=UTC") as connection:

        def answer(sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
            cursor = connection.execute(grafana.sql(sql))
            return [column.name for column in cursor.description or ()], cursor.fetchall()

        for panel, target in ((p, t) for p in board["panels"] for t in p["targets"] if "rawSql" in t):
            yield from (f"{panel['title']}: {p}" for p in _table_problems(panel, target, *answer(target["rawSql"])))
        for annotation in (a for a in board["annotations"].get("list", []) if "rawSql" in a.get("target", {})):
            names, rows = answer(annotation["target"]["rawSql"])
            if names != ["time", "timeend", "text", "tags"] or not rows:
                yield f"annotation {annotation['name']}: {names}, {len(rows)} rows"
        for variable in board["templating"]["list"]:
            if variable["datasource"]["type"] == "grafana-postgresql-datasource" and not answer(variable["query"])[1]:
                yield f"variable {variable['name']} is empty"


def _table_problems(
    panel: dict[str, Any], target: dict[str, Any], names: list[str], rows: list[tuple[Any, ...]]
) -> Iterator[str]:
    if not rows:
        yield f"empty: {target['rawSql']}"
    elif target["format"] == "time_series":
        yield from _series_problems(names, rows)
    elif panel["type"] == "table":
        yield from _missing_columns(panel, set(names))


def _series_problems(names: list[str], rows: list[tuple[Any, ...]]) -> Iterator[str]:
    """What Grafana asks of a query over time: ``time`` in order, at most one text ``metric``, and numbers."""
    times = [row[names.index("time")] for row in rows]
    if not all(isinstance(at, datetime) and at.tzinfo is not None for at in times):
        yield "time is not a timestamp with time zone"
    if times != sorted(times):
        yield "time is not in order"
    for number, name in enumerate(names):
        values = [row[number] for row in rows if row[number] is not None]
        if name == "metric":
            if not all(isinstance(value, str) for value in values):
                yield "metric is no text"
        elif name != "time" and not (values and all(isinstance(value, int | float | Decimal) for value in values)):
            yield f"{name} is empty or no number"


def _missing_columns(panel: dict[str, Any], names: set[str]) -> Iterator[str]:
    for transformation in panel["transformations"]:
        if transformation["id"] == "filterFieldsByName":
            for name in set(transformation["options"]["include"]["names"]) - names:
                yield f"{panel['title']}: no column {name}"

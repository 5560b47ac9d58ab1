"""What the dashboards' PromQL says, where a wrong figure would still be a figure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from grafana import generate
from tests.support.promtool import run_tests

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.prometheus

PANELS = json.loads(generate.generated()[generate.DIRECTORY / "health.json"])["panels"]
COUNTED = 'dict_rate_limit_alerts_created_total{participant="12345678", policy="KEYS_CHECK", severity="warning"}'
FED = 'dict_rate_limit_feed_connected{target="exporter:9863"}'
HELD = "dict_rate_limit_lease_held{}"


@pytest.fixture
def shows(tmp_path) -> Callable[[str, str, dict[str, str], dict[str, float]], None]:
    """Says that a query of a panel of *Exporter health* gives these samples after an hour, asked of Prometheus."""

    def check(title: str, ref: str, series: dict[str, str], samples: dict[str, float]) -> None:
        (panel,) = (p for p in PANELS if (p["title"], p["type"]) == (title, "timeseries"))
        (expr,) = (t["expr"] for t in panel["targets"] if t["refId"] == ref)
        expr = expr.replace("$participant", ".*")
        expected = [{"labels": f"{{{labels}}}", "value": value} for labels, value in samples.items()]
        test = {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [{"expr": expr, "eval_time": "60m", "exp_samples": expected}],
        }
        file = tmp_path / "test.yml"
        file.write_text(yaml.safe_dump({"tests": [test]}))
        (verdict,) = run_tests([file])
        assert verdict.passed, verdict.output

    return check


def scraped(series: str, job: str, instance: str) -> str:
    return series.replace("}", f', job="dict-rate-limit{job}", instance="{instance}"}}').replace("{, ", "{")


def test_an_alert_that_exporter_and_reconciler_count_is_one(shows) -> None:
    both = {
        scraped(COUNTED, "-exporter", "e"): "0x10 1x50",
        scraped(COUNTED, "-reconciler", "r"): "0x10 1x50",
    }

    shows("Alerts per hour", "A", both, {'severity="warning"': 1})


def test_alerts_that_one_leader_counted_and_then_another_are_added(shows) -> None:
    replicas = {
        scraped(COUNTED, "", "a"): "0x10 1x50",
        scraped(COUNTED, "", "b"): "0x40 2x20",
    }

    shows("Alerts per hour", "A", replicas, {'severity="warning"': 3})


def test_a_reconciler_that_no_longer_leads_says_nothing_of_the_feed(shows) -> None:
    replicas = {
        scraped(FED, "-reconciler", "a"): "0x60",
        scraped(HELD, "-reconciler", "a"): "0x60",
        scraped(FED, "-reconciler", "b"): "1x60",
        scraped(HELD, "-reconciler", "b"): "1x60",
    }

    shows("Feed", "A", replicas, {'target="exporter:9863"': 1})

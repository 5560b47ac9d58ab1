"""The dashboards in the repository: what the generator makes, laid out, linked and named as they should be."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from exporter.alerts.alert import Severity
from exporter.buckets.gauges import BUCKET_GAUGES, PARTICIPANT_GAUGES
from exporter.metrics import Metrics
from exporter.metrics.families import COUNTER_FAMILIES
from grafana import generate, panels
from tests.support.program import ROOT, RULES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DASHBOARDS = {path.stem: json.loads(text) for path, text in generate.generated().items()}
PROVISIONED = yaml.safe_load((ROOT / "grafana/provisioning/datasources/datasources.yml").read_text())


def every_panel() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, board in DASHBOARDS.items():
        for panel in board["panels"]:
            yield name, panel


def every_expression() -> Iterator[str]:
    for _, panel in every_panel():
        yield from (target["expr"] for target in panel["targets"] if "expr" in target)


@pytest.mark.parametrize("path", generate.generated(), ids=lambda path: path.stem)
def test_a_dashboard_is_what_the_generator_makes(path: Path) -> None:
    assert path.read_text() == generate.generated()[path]


def test_the_generator_says_which_files_are_not_current(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(generate, "DIRECTORY", tmp_path)

    before = generate.main(["--check"])
    told = capsys.readouterr().err
    generate.main([])

    assert before == 1
    assert told.count("is not what") == len(DASHBOARDS)
    assert generate.main(["--check"]) == 0
    assert generate.main(["--wrong"]) == 2


def test_every_metric_of_a_query_exists() -> None:
    program = {sample.name for family in Metrics().registry.collect() for sample in family.samples}
    program |= {f"{m.name}_total" for m in Metrics().registry.collect() if m.type == "counter"}
    program |= {m.name for m in Metrics().registry.collect()}
    program |= {f.name for f in (*BUCKET_GAUGES, *PARTICIPANT_GAUGES, *COUNTER_FAMILIES)}
    program |= {metric._name for metric in Metrics().collectors.declared}

    used = {name for expr in every_expression() for name in re.findall(r"\bdict_rate_limit_\w+", expr)}

    histogram = "dict_rate_limit_monitoring_duration_seconds"
    assert used <= program | {f"{histogram}_bucket", f"{histogram}_count"}


def test_panels_are_on_the_grid_and_do_not_overlap() -> None:
    for name, board in DASHBOARDS.items():
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert max(x for x, _ in cells) < 24, (name, panel["title"])
            assert not cells & taken, (name, panel["title"])
            taken |= cells


def test_every_panel_has_a_name_and_a_data_source_that_is_provisioned() -> None:
    known = {source["uid"] for source in PROVISIONED["datasources"]} | {"-- Mixed --"}

    for name, panel in every_panel():
        assert panel["title"], name
        assert panel["datasource"]["uid"] in known
        assert {target["datasource"]["uid"] for target in panel["targets"]} <= known
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    titles = [(name, panel["type"], panel["title"]) for name, panel in every_panel()]
    assert len(set(titles)) == len(titles)


def test_figures_and_graphs_have_units_or_are_plain_numbers() -> None:
    for name, panel in every_panel():
        if panel["type"] in ("stat", "timeseries", "barchart"):
            assert panel["fieldConfig"]["defaults"]["unit"], (name, panel["title"])


def test_figures_are_those_of_now() -> None:
    # Over a range Grafana's "last" goes on with a series that has ended: a bucket that drained an hour ago.
    targets = [target for _, panel in every_panel() if panel["type"] == "stat" for target in panel["targets"]]

    assert targets
    assert all((t["instant"], t["range"], t["format"]) == (True, False, "time_series") for t in targets)


def test_a_list_of_no_policies_is_still_sql() -> None:
    # After a long outage no series is left to choose from, and the open alerts are looked for all the more.
    text = json.dumps(DASHBOARDS)

    assert "ARRAY[${policy:sqlstring}]::text[]" in text
    assert not re.search(r"IN \(\$\{", text)


def every_format() -> Iterator[tuple[str, dict[str, Any]]]:
    """What each figure and column is called, and how it is written."""
    for _, panel in every_panel():
        yield panel["title"], panel["fieldConfig"]["defaults"]
        for override in panel["fieldConfig"]["overrides"]:
            yield override["matcher"]["options"], {p["id"]: p["value"] for p in override["properties"]}


def test_tokens_are_written_with_every_digit() -> None:
    # "short" makes 1 K of 1,499 where no decimals are asked for.
    rounded = {name for name, how in every_format() if how.get("unit") == "short"}

    assert not rounded & {"Tokens", "Capacity", "Refill", "Consumed / min", "Consumed per minute", "Peak"}


def test_times_keep_a_decimal() -> None:
    # Grafana makes minutes of seconds: without a decimal 100 s are 2 min, and 5400 s are 2 hours.
    whole = {name for name, how in every_format() if how.get("unit") in ("s", "m", "d") and how.get("decimals") == 0}

    assert not whole


def test_a_graph_of_a_single_point_shows_it() -> None:
    # The first day of a daily graph, or a bucket that was draining at one poll only.
    styles = [p["fieldConfig"]["defaults"].get("custom", {}) for _, p in every_panel() if p["type"] == "timeseries"]

    assert styles
    assert all(style.get("showPoints", "auto") == "auto" for style in styles)


def test_links_between_dashboards_lead_somewhere() -> None:
    uids = {board["uid"] for board in DASHBOARDS.values()}
    names = {board["uid"]: {v["name"] for v in board["templating"]["list"]} for board in DASHBOARDS.values()}

    text = json.dumps(DASHBOARDS)

    for uid, parameters in re.findall(r"/d/([\w-]+)\?([^\"]*)", text):
        assert uid in uids
        assert set(re.findall(r"var-(\w+)=", parameters)) <= names[uid]


def test_a_bucket_is_opened_at_the_time_that_was_looked_at() -> None:
    links = re.findall(r"/d/dict-rate-limit-bucket[^\"]*", json.dumps(DASHBOARDS["overview"]))

    assert links
    assert all(link.endswith("&${__url_time_range}") for link in links)


def test_every_table_of_alerts_leads_to_their_runbooks_and_colours_their_severity() -> None:
    tables = [panel for _, panel in every_panel() if "alertname" in json.dumps(panel["targets"])]
    tables = [panel for panel in tables if panel["type"] == "table"]

    assert {panel["title"] for panel in tables} == {"Open alerts", "Alerts of this bucket"}
    for panel in tables:
        columns = {
            override["matcher"]["options"]: {p["id"]: p["value"] for p in override["properties"]}
            for override in panel["fieldConfig"]["overrides"]
        }
        assert columns["Alert"]["links"] == [{"title": "Runbook", "url": "${__data.fields.Runbook}"}]
        assert columns["Severity"]["mappings"][0]["options"].keys() == set(Severity)


def test_every_dashboard_links_to_the_others_and_keeps_what_was_chosen() -> None:
    for board in DASHBOARDS.values():
        (link,) = board["links"]
        assert (link["type"], link["includeVars"], link["keepTime"]) == ("dashboards", True, True)
        assert set(link["tags"]) <= set(board["tags"])


def test_colours_are_named_so_that_either_theme_shows_its_own() -> None:
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(", json.dumps(DASHBOARDS))


def test_legends_are_labels_or_a_few_words() -> None:
    for name, panel in every_panel():
        for target in panel["targets"]:
            legend = re.sub(r"{{\w+}}", "", target.get("legendFormat") or "")
            assert len(legend) <= 20, (name, panel["title"], legend)
            if "expr" in target and panel["type"] == "timeseries":
                assert target["legendFormat"], (name, panel["title"])


def test_notifications_link_to_dashboards_that_exist() -> None:
    text = (ROOT / "alertmanager/templates/dict-rate-limit.tmpl").read_text()

    assert set(re.findall(r"/d/([\w-]+)", text)) <= {board["uid"] for board in DASHBOARDS.values()}


def test_thresholds_are_those_of_the_rules() -> None:
    begins_at = re.findall(r"_capacity <= ([\d.]+)\n +and on", RULES.read_text())

    assert [100 * float(share) for share in begins_at] == [panels.WARNING_PERCENT_LEFT, panels.CRITICAL_PERCENT_LEFT]


def test_dashboards_are_provisioned_from_where_compose_mounts_them() -> None:
    (provider,) = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/dashboards.yml").read_text())["providers"]
    mounts = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]["volumes"]

    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in mounts

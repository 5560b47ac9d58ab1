"""What the documents say of the program is so: links, commands, settings, metrics, alerts."""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import click
import jsonschema
import msgspec
import pytest
import yaml
from markdown_it import MarkdownIt

import exporter
from docs.generate import metric_labels, metric_names, references
from exporter.alerts.alert import Reason
from exporter.bridge.client import REFUSALS, RETRIED
from exporter.bridge.defect import REASONS
from exporter.buckets.catalog import CATEGORIES, MINUTE_SECONDS, POLICIES, Limit
from exporter.config.configuration import ENVIRONMENT_PREFIX, load_settings
from exporter.config.secrets import Secret
from exporter.config.settings import Settings, WebSettings, keys
from exporter.durations import parse_duration
from exporter.health import Readiness
from exporter.metrics import Metrics
from exporter.reconciler.leadership import LeadershipState
from exporter.reconciler.loop import BATCH_POLLS
from exporter.reconciler.reconciler import DROPPED
from exporter.rules.promql.calls import ABSENT, CALLS
from exporter.rules.promql.functions import CALENDAR
from exporter.rules.promql.range_functions import RANGE_FUNCTIONS
from exporter.rules.promql.signatures import AGGREGATIONS, BEHIND_A_FLAG, SIGNATURES
from exporter.rules.templates.functions import FUNCTIONS
from exporter.rules.templates.values import VERBS
from exporter.simulator import scenario
from exporter.store.migrations import migrations
from exporter.web.api import buckets_json
from exporter.web.app import create_app
from exporter.web.headroom import HeadroomQuery, headroom_json
from exporter.web.sources import Sources
from tests.support.builders import PARTICIPANT, at, bucket, poll, view
from tests.support.deployed import understood
from tests.support.program import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from markdown_it.token import Token

DOCS = ROOT / "docs"
RUNBOOKS = DOCS / "runbooks"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
RUNBOOK_URL = "https://github.com/lb-conn/dict-rate-limit-exporter/blob/main/docs/runbooks"
SECTIONS = ["What it means", "How to look", "What to do", "When to call BACEN"]
ALERT_FILES = [*sorted((ROOT / "rules").glob("*.yml")), ROOT / "alertmanager/meta-alerts.yml"]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8"))


def inline(page: Path) -> Iterator[Token]:
    """Yields the words, links and code spans of a page."""
    for token in tokens(page):
        yield from token.children or ()


def spans(page: Path) -> list[str]:
    return [token.content for token in inline(page) if token.type == "code_inline"]


def blocks(page: Path, *languages: str) -> list[str]:
    return [token.content for token in tokens(page) if token.type == "fence" and token.info in languages]


@cache
def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives to a page's headings."""
    found: set[str] = set()
    for before, heading in pairwise(tokens(page)):
        if before.type == "heading_open":
            text = "".join(child.content for child in heading.children or ())
            found.add(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-"))
    return found


def rows(page: Path, heading: str) -> list[list[str]]:
    """Returns the cells of the tables below a heading, as written, without code marks; not their heads."""
    lines = (DOCS / page if isinstance(page, str) else page).read_text("utf-8").splitlines()
    level, begin = heading.partition(" ")[0], lines.index(heading) + 1
    found: list[list[str]] = []
    for line in lines[begin:]:
        if re.match(rf"#{{1,{len(level)}}} ", line):
            break
        if line.startswith("|---"):
            del found[-1]
        elif line.startswith("|"):
            found.append([cell.strip().replace("`", "") for cell in line.strip("| ").split(" | ")])
    return found


def commands(page: Path) -> Iterator[str]:
    """Yields what a page says to type after ``dict-rate-limit``; N stands for a number."""

    def lines(*languages: str) -> list[str]:
        return "".join(blocks(page, *languages)).replace("\\\n", " ").splitlines()

    typed = [*lines("sh"), *(line[2:] for line in lines("console", "") if line.startswith("$ "))]
    for line in (*typed, *spans(page)):
        if match := re.match(r"(?:\S*/)?dict-rate-limit (.*)", line):
            yield re.sub(r"\bN\b", "1", re.split(r" *(?:[|>&]| # )", match[1])[0])


def alerts() -> dict[str, dict]:
    groups = [group for file in ALERT_FILES for group in yaml.safe_load(file.read_text())["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@pytest.mark.parametrize("page", references(), ids=lambda page: page.name)
def test_a_reference_is_what_the_generator_makes(page) -> None:
    assert page.read_text("utf-8") == references()[page]


@every_page
def test_every_link_leads_somewhere(page) -> None:
    for token in inline(page):
        target = str(token.attrs.get("href", "") or token.attrs.get("src", ""))
        if not target or target.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not fragment or fragment in anchors(file), target


@every_page
def test_every_page_is_linked_from_another(page) -> None:
    linked = {
        (other.parent / str(token.attrs["href"]).partition("#")[0]).resolve()
        for other in PAGES
        if other != page
        for token in inline(other)
        if token.type == "link_open"
    }

    assert page == ROOT / "README.md" or page in linked


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands(page))], ids=lambda page: page.name)
def test_the_program_understands_every_command_line(page) -> None:
    refused = {}
    for line in commands(page):
        if page.name == "cli.md" and "[" in line:
            continue  # a usage line
        try:
            understood(shlex.split(line))
        except click.exceptions.Exit:
            continue  # --version, --help
        except click.MissingParameter:
            continue  # a command's name, in a sentence
        except click.UsageError as error:
            refused[line] = error.format_message()

    # The files of the examples are not here; what names them is right.
    assert {line: message for line, message in refused.items() if "does not exist" not in message} == {}


def test_a_command_line_that_is_wrong_would_be_found() -> None:
    for line in ("run --config config.yml", "rules chek x.yml", "config check --output toml"):
        with pytest.raises(click.UsageError):
            understood(line.split())


@every_page
def test_every_setting_that_is_named_exists(page) -> None:
    sections = "|".join(Settings.__struct_fields__)
    existing = {".".join(path[:depth]) for path, _, _ in keys() for depth in range(1, len(path) + 1)}

    named = {span for span in spans(page) if re.fullmatch(rf"(?:{sections})(?:\.[a-z_]+)+", span)}

    assert {name for name in named if not name.endswith((".yml", ".md", ".py", ".html"))} <= existing


@every_page
def test_every_variable_that_is_named_exists(page) -> None:
    existing = set()
    for path, kind, _ in keys():
        name = ENVIRONMENT_PREFIX + "__".join(path).upper()
        existing |= {name, f"{name}_FILE"} if Secret in (kind, *getattr(kind, "__args__", ())) else {name}

    named = set(re.findall(rf"\b{ENVIRONMENT_PREFIX}[A-Z_]+\b", page.read_text("utf-8")))

    assert named <= existing


OTHER_FILES = {"groups", "rule_files", "scrape_configs", "services", "tls_server_config", "traffic"}
"""Keys of YAML files that are no configuration of the program."""


@every_page
def test_every_configuration_that_is_shown_loads(page, tmp_path) -> None:
    for number, block in enumerate(blocks(page, "yaml")):
        if yaml.safe_load(block).keys().isdisjoint(OTHER_FILES):
            file = tmp_path / f"{number}.yml"
            file.write_text(block)
            load_settings(file, {})


@every_page
def test_every_metric_and_table_that_is_named_exists(page) -> None:
    schema = "\n".join(file.read_text() for file in (ROOT / "migrations").glob("*.sql"))
    tables = set(re.findall(r"\bdict_rate_limit_\w+", schema)) | {"dict_rate_limit_migrations"}
    histograms = {f"{name}_{part}" for name in metric_names() for part in ("bucket", "count", "sum")}

    named = set(re.findall(r"\bdict_rate_limit_\w+", page.read_text("utf-8")))

    assert named <= tables | metric_names() | histograms


@pytest.mark.parametrize("file", [*sorted((ROOT / "alertmanager").rglob("*.yml")), *ALERT_FILES], ids=lambda f: f.name)
def test_every_metric_of_an_alert_exists(file) -> None:
    assert set(re.findall(r"\bdict_rate_limit_\w+", file.read_text())) <= metric_names()


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_links_to_its_runbook_which_says_what_it_must(alert) -> None:
    rule = alerts()[alert]
    page = RUNBOOKS / f"{alert}.md"

    headings = re.findall(r"^(#+) (.*)$", page.read_text("utf-8"), re.MULTILINE)

    assert rule["annotations"]["runbook_url"] == f"{RUNBOOK_URL}/{alert}.md"
    assert headings[0] == ("#", alert)
    assert [text for level, text in headings if level == "##"] == SECTIONS
    assert page.read_text("utf-8").splitlines()[2].startswith(f"**{rule['labels']['severity']}.** ")


def spelled(duration: str) -> set[str]:
    """Returns how a page may say a duration."""
    seconds = int(parse_duration(duration))
    minutes = {2: "two", 3: "three", 4: "four", 5: "five", 10: "ten"}
    if seconds % 60:
        return {f"{seconds} seconds"}
    number = seconds // 60
    return {"a minute", "1 minute"} if number == 1 else {f"{number} minutes", f"{minutes.get(number, number)} minutes"}


@pytest.mark.parametrize("alert", alerts())
def test_a_runbook_says_for_how_long_its_alert_waits_and_is_kept(alert) -> None:
    beginning = (RUNBOOKS / f"{alert}.md").read_text("utf-8").splitlines()[2]

    for name in ("for", "keep_firing_for"):
        if duration := alerts()[alert].get(name):
            assert any(words in beginning for words in spelled(duration)), (name, duration)


def test_every_runbook_is_of_an_alert_and_listed_with_its_severity() -> None:
    listed = re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| (\w+) \|", (RUNBOOKS / "README.md").read_text(), re.MULTILINE)

    assert dict(listed) == {alert: rule["labels"]["severity"] for alert, rule in alerts().items()}
    assert len(listed) == len(dict(listed))
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == {*alerts(), "README"}


@every_page
def test_every_make_target_that_is_named_exists(page) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    typed = [s for s in spans(page) if s.startswith("make ")]
    typed += [
        line for block in blocks(page, "sh", "console") for line in block.splitlines() if line.startswith("make ")
    ]

    named = {word for line in typed for word in line.split("#")[0].split()[1:] if re.fullmatch(r"[a-z-]+", word)}

    assert named <= targets


@every_page
def test_every_file_of_the_repository_that_is_named_exists(page) -> None:
    folders = "alertmanager|benchmarks|deploy|docs|exporter|grafana|migrations|protos|rules|tests"

    named = {span for span in spans(page) if re.fullmatch(rf"(?:{folders})/[\w./-]+\.\w+", span)}

    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_every_line_that_troubleshooting_explains_is_one_that_the_program_says() -> None:
    program = "".join(file.read_text() for file in (ROOT / "exporter").rglob("*.py"))
    program = re.sub(r'"\s+f?"', "", program) + "password authentication failed error connecting in 'dict-rate-limit': "
    sections = re.split(r"^## ", (DOCS / "troubleshooting.md").read_text(), flags=re.MULTILINE)

    cells = re.findall(r"^\| (`.*?`) \|", "".join(sections[1:3]), re.MULTILINE)
    said = [line for cell in cells for line in cell.strip("`").split("`, `")]

    assert len(said) > 20
    assert [line for line in said for part in line.split("...") if part.strip() not in program] == []


def test_every_reason_of_a_defect_is_in_the_reference() -> None:
    section = (DOCS / "metrics.md").read_text().partition("### Reasons of `dict_rate_limit_answer_defects_total`")[2]

    assert re.findall(r"^\| `(\w+)` \|", section.partition("###")[0], re.MULTILINE) == [*REASONS]


def test_every_reason_of_a_dropped_poll_is_in_the_reference() -> None:
    reasons = rows(DOCS / "metrics.md", "### Reasons of `dict_rate_limit_snapshots_dropped_total`")

    assert [reason for reason, _ in reasons] == [*DROPPED]


@every_page
def test_every_label_of_a_metric_that_is_named_exists(page) -> None:
    wrong = []
    for metric, labels in re.findall(r"\b(dict_rate_limit_\w+)\{([^}]*)\}", page.read_text("utf-8")):
        name = metric.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
        named = set(re.findall(r"(\w+) *(?:=~|!~|!=|=)", labels))
        wrong += [(metric, label) for label in named - set(metric_labels()[name]) - {"job", "instance", "le"}]

    assert wrong == []


def test_the_reconcilers_runbook_explains_each_standing() -> None:
    text = (RUNBOOKS / "DictRateLimitReconcilerGone.md").read_text()

    explained = re.findall(r"^\| `([a-z ]+)[:`]", text, re.MULTILINE)

    assert sorted(explained) == sorted(standing.value for standing in LeadershipState)


def test_the_bridges_runbook_explains_each_code_that_the_client_tells_apart() -> None:
    codes = {status.name for status in RETRIED | REFUSALS} | {"RESOURCE_EXHAUSTED", "BAD_ANSWER", "FEED_LOST"}
    text = (RUNBOOKS / "DictRateLimitBridgeNotAnswering.md").read_text()

    cells = re.findall(r"^\| (`[A-Z_`, ]+)", text, re.MULTILINE)

    assert set(re.findall(r"[A-Z_]+", " ".join(cells))) == codes


def test_the_published_policies_are_those_of_the_program() -> None:
    def per(limit: Limit | None) -> tuple[str, str] | None:
        if limit is None:
            return None
        unit = "min" if limit.refill_period_seconds == MINUTE_SECONDS else "day"
        return f"{limit.refill_tokens}/{unit}", str(limit.capacity)

    told = {policy: (refill, capacity) for policy, _, refill, capacity in rows(DOCS / "architecture.md", "## Policies")}
    categories = rows(RUNBOOKS / "DictRateLimitCategoryChanged.md", "## What it means")

    assert list(told) == [*POLICIES]
    assert {p: told[p] for p, limit in POLICIES.items() if limit} == {p: per(x) for p, x in POLICIES.items() if x}
    assert categories == [[name, str(limit.refill_tokens), str(limit.capacity)] for name, limit in CATEGORIES.items()]


def test_the_page_of_rules_lists_what_expressions_and_templates_can_use() -> None:
    cells = {name: words.split() for name, words, *_ in rows(DOCS / "rules.md", "## The subset on one page")}
    clock = " ".join(cells["functions of time"]).partition(":")[0].split()
    verbs = {word.rstrip(",") for word in cells["verbs of printf"] if word.startswith("%")}

    of_one_participant = {word.rstrip(":") for word in cells["functions of one participant"][: len(ABSENT) + 1]}
    assert of_one_participant == {*ABSENT, "scalar"}
    assert {*cells["functions"]} == {*CALLS} - {*CALENDAR} - {*RANGE_FUNCTIONS} - {"scalar"}
    assert {*CALLS, *ABSENT} == {name for name in SIGNATURES if not name.startswith("histogram_")}
    assert {*cells["functions of ranges"]} == {*RANGE_FUNCTIONS}
    assert clock == [*CALENDAR]
    assert {*" ".join(cells["aggregation"]).partition(",")[0].split()} == AGGREGATIONS.keys() - BEHIND_A_FLAG
    assert {*cells["functions of texts"]} == {*FUNCTIONS}
    assert verbs == {f"%{verb}" for verb in VERBS}


def test_every_room_of_the_program_is_in_the_architecture() -> None:
    told = {name.rstrip("/") for cells in rows(DOCS / "architecture.md", "## Rooms") for name in cells[0].split(", ")}
    package = ROOT / exporter.__name__
    rooms = {file.stem for file in package.iterdir() if file.suffix == ".py" or (file / "__init__.py").exists()}

    assert told == rooms - {"__init__"}


def test_the_simulators_page_names_every_scenario_every_key_and_every_fault() -> None:
    page = DOCS / "simulator.md"
    faults = [msgspec.inspect.type_info(kind).tag for kind in (scenario.Outage, scenario.Slow, scenario.Garbage)]
    tables = rows(page, "## Scenario files")
    split = next(place for place, cells in enumerate(tables) if cells[0] == faults[0])

    assert [cells[0] for cells in tables[:split]] == [*scenario.Scenario.__struct_fields__]
    assert [cells[0] for cells in tables[split:]] == faults
    assert {cells[0] for cells in rows(page, "## Shipped scenarios")} == {*scenario.shipped()}


def test_the_migrations_that_deployment_shows_are_those_that_there_are() -> None:
    text, steps = (DOCS / "deployment.md").read_text(), migrations()

    assert re.findall(r"^applied (\S+)$", text, re.MULTILINE) == [str(step) for step in steps]
    assert f"\n{len(steps)} migrations applied\n" in text
    assert set(re.findall(r"migrate down --steps (\d+)", text)) == {str(len(steps))}
    assert set(re.findall(r"this version needs (\d+)", text)) == {f"{len(steps):04}"}


@every_page
def test_the_number_of_rules_that_a_page_shows_is_that_of_the_shipped_file(page) -> None:
    groups = yaml.safe_load((ROOT / "rules/dict-rate-limit.yml").read_text())["groups"]
    shown = re.findall(r"^ *(?:rules/dict-rate-limit.yml|SUCCESS): (\d+) rules found", page.read_text(), re.MULTILINE)

    assert set(shown) <= {str(sum(len(group["rules"]) for group in groups))}


def test_every_table_and_view_is_in_the_reference_and_no_other() -> None:
    schema = "\n".join(step.up_sql for step in migrations())
    made = {"dict_rate_limit_migrations", *re.findall(r"CREATE (?:TABLE|VIEW) public\.(\w+)", schema)}
    made |= set(re.findall(r"ALTER TABLE public\.\w+ RENAME TO (\w+);", schema))

    assert {cells[0] for cells in rows(DOCS / "database.md", "## Tables")} == made


def test_the_number_of_polls_that_share_a_transaction_is_the_writers() -> None:
    assert f"share one, {BATCH_POLLS} at most." in (DOCS / "database.md").read_text()


def test_every_reason_of_a_resolution_is_in_the_reference_of_events() -> None:
    found = [cells[0] for cells in rows(DOCS / "events.md", "## The message")]

    assert found[-len(Reason) :] == [reason.value for reason in Reason]


def test_every_path_is_in_the_reference_of_http_and_no_other() -> None:
    sources = Sources(metrics=Metrics(), views=dict, readiness=lambda: Readiness(ready=True, dependencies=[]))
    routes = {route.path: route for route in create_app(sources, WebSettings())._app.routes}

    told = {cells[0].split(" ")[0].rstrip("/") for cells in rows(DOCS / "http-api.md", "# HTTP API")[: len(routes)]}

    assert told == {path.rstrip("/").replace(":path", "") for path in routes}


def test_the_sample_of_an_event_is_one() -> None:
    (sample,) = map(json.loads, blocks(DOCS / "events.md", "json"))
    schema = json.loads((ROOT / "protos/dict_rate_limit/v1/alert_event.schema.json").read_text())

    jsonschema.validate(sample, schema)
    since_1_1 = {name for name, of in schema["properties"].items() if "Since 1.1." in of.get("description", "")}
    assert {*sample} == {*schema["required"]} | since_1_1 == {*schema["properties"]}


def test_the_sample_of_buckets_has_the_fields_of_the_answer() -> None:
    (line,) = re.findall(r"^{.*\"participants\".*}$", (DOCS / "http-api.md").read_text(), re.MULTILINE)
    answer = b"".join(buckets_json({PARTICIPANT: view(poll(bucket()))}))

    def shape(body: str | bytes) -> tuple[list[str], list[str]]:
        (participant,) = json.loads(body)["data"]["participants"]
        return [*participant], [*participant["buckets"][0]]

    assert shape(line) == shape(answer)


def test_the_sample_of_headroom_has_the_fields_of_the_answer_and_the_table_explains_each() -> None:
    (line,) = re.findall(r"^{.*\"reserve\".*}$", (DOCS / "http-api.md").read_text(), re.MULTILINE)
    query = HeadroomQuery.parse([PARTICIPANT], [], ["60"])
    answer = headroom_json(query, {PARTICIPANT: view(poll(bucket()))}, at(0))
    told = {cells[0].split(" ")[0] for cells in rows(DOCS / "http-api.md", "## `/api/v1/headroom`")}

    sample, made = (json.loads(body)["data"] for body in (line, answer))
    assert [*sample] == [*made]
    assert [*sample["buckets"][0]] == [*made["buckets"][0]]
    assert made["buckets"][0].keys() - {"policy"} <= told

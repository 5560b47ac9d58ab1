"""Scenario files: what is read, and how a mistake is told."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from exporter.buckets.catalog import CATEGORIES
from exporter.errors import ConfigurationError
from exporter.simulator.scenario import (
    CategoryChange,
    Flow,
    Garbage,
    Outage,
    Refill,
    Scenario,
    Size,
    Slow,
    load,
    parse,
    shipped,
)

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "simulator.md"
SHIPPED = shipped()


def test_the_documentation_names_the_shipped_scenarios():
    text = DOCUMENTATION.read_text(encoding="utf-8")
    section = text.partition("## Shipped scenarios")[2].partition("## Scenario files")[0]

    assert {"burst", "category-change", "exhaustion", "garbage", "outage", "recovery", "scan", "slow"} < set(SHIPPED)
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)) == sorted(SHIPPED)


def test_the_documentation_tells_every_key_and_its_example_is_valid():
    text = DOCUMENTATION.read_text(encoding="utf-8").partition("## Scenario files")[2].partition("\n## ")[0]
    before, example, after = re.split(r"^```.*\n", text, flags=re.MULTILINE)
    # Only what is written as code: most keys are words of every sentence too.
    told = {word for span in re.findall(r"`[^`\n]+`", before + after) for word in re.findall(r"\w+", span)}

    assert parse(example, "example").traffic
    for section in (Scenario, Flow, Outage, Slow, Garbage, CategoryChange, Size):
        for field in msgspec.structs.fields(section):
            assert field.encode_name in told


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_scenario_is_valid(name: str):
    assert load(name).description


def test_a_file_is_read(tmp_path: Path):
    file = tmp_path / "mine.yml"
    file.write_text("description: mine\nrefill: stepwise\n")

    assert load(file).refill is Refill.STEPWISE
    assert load(str(file)).description == "mine"


def test_everything_in_a_scenario_has_its_type():
    scenario = parse(
        """
        description: all of it
        category: [A, H]
        traffic:
          - {policies: [KEYS_CHECK], requests_per_minute: 10, from: 5s, until: 10s, every: 1m, participants: 3}
        category_changes:
          - {at: 1m, category: B}
        faults:
          - {kind: outage, until: 10s}
          - {kind: slow, at_most: 1s}
          - {kind: garbage, kinds: [no_policies]}
        """,
        "test",
    )

    assert scenario.traffic == (
        Flow(
            policies=("KEYS_CHECK",),
            requests_per_minute=10,
            from_=scenario.step,
            until=scenario.traffic[0].until,
            every=scenario.traffic[0].every,
            participants=3,
        ),
    )
    assert isinstance(scenario.category_changes[0], CategoryChange)
    assert [type(fault) for fault in scenario.faults] == [Outage, Slow, Garbage]


def test_categories_are_dealt_out_in_turn():
    scenario = parse("{description: x, category: [A, B]}", "test")

    assert [scenario.category_of(index) for index in range(3)] == ["A", "B", "A"]


def test_a_scenario_takes_every_category_that_dict_has():
    for category in CATEGORIES:
        assert parse(f"{{description: x, category: {category}}}", "test").category_of(0) == category


@pytest.mark.parametrize(
    ("span", "covered"),
    [
        ("", [0, 5, 10, 100]),
        (", from: 5s", [5, 10, 100]),
        (", from: 5s, until: 10s", [5]),
        (", from: 5s, until: 10s, every: 95s", [5, 100]),
    ],
)
def test_a_span_covers_its_time_and_its_repetitions(span: str, covered: list[int]):
    fault = parse(f"{{description: x, faults: [{{kind: outage{span}}}]}}", "test").faults[0]

    assert [second for second in (0, 5, 10, 100) if fault.covers(second)] == covered


@pytest.mark.parametrize(("whom", "concerned"), [("all", [0, 1, 2]), ("first", [0]), ("2", [0, 1])])
def test_all_the_first_or_the_first_so_many_are_concerned(whom: str, concerned: list[int]):
    fault = parse(f"{{description: x, faults: [{{kind: outage, participants: {whom}}}]}}", "test").faults[0]

    assert [index for index in range(3) if fault.concerns(index)] == concerned


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("[" * 100_000, "is not YAML: line 1, column 51: more than 50 levels deep"),
        ("description: x\nstep: 1s\nstep: 5s\n", "line 3: step is given twice, first in line 2"),
        ("[]", "Expected `object`, got `array`"),
        ("refill: stepwise", "missing required field `description`"),
        ("{description: x, trafic: []}", "unknown field `trafic`"),
        ("{description: x, refill: sometimes}", "refill: Invalid enum value 'sometimes'"),
        ("{description: x, category: Z}", "category: "),
        ("{description: x, category: []}", "category: is an empty list"),
        ("{description: x, step: 5}", "step: 5 is not a duration"),
        ("{description: x, step: five}", "step: 'five' is not a duration"),
        ("{description: x, step: 0s}", "step: 0s is not above 0s"),
        ("{description: x, sizes: {NOPE: {capacity: 1, refill_tokens: 1}}}", "sizes.NOPE: is not a policy"),
        ("{description: x, sizes: {KEYS_CHECK: {capacity: 0, refill_tokens: 1}}}", "int` >= 1"),
        (
            "{description: x, sizes: {KEYS_CHECK: {capacity: 1, refill_tokens: 1, refill_period: 500ms}}}",
            "sizes.KEYS_CHECK.refill_period: 500ms is not a whole number of seconds",
        ),
        ("{description: x, tokens_at_start: {KEYS_CHECK: 1.5}}", "tokens_at_start"),
        ("{description: x, tokens_at_start: {NOPE: 1}}", "tokens_at_start.NOPE: is not a policy"),
        ("{description: x, traffic: [{policies: all}]}", "traffic[0]: needs requests_per_minute or share_of_refill"),
        (
            "{description: x, traffic: [{policies: all, requests_per_minute: 1, share_of_refill: 1}]}",
            "traffic[0]: needs requests_per_minute or share_of_refill, and not both",
        ),
        (
            "{description: x, traffic: [{policies: [NOPE], requests_per_minute: 1}]}",
            "traffic[0].policies: NOPE is not a policy",
        ),
        ("{description: x, traffic: [{policies: all, requests_per_minute: -1}]}", "traffic[0].requests_per_minute"),
        (
            "{description: x, traffic: [{policies: all, share_of_refill: 1, not_found: 2}]}",
            "traffic[0].not_found",
        ),
        (
            "{description: x, traffic: [{policies: all, share_of_refill: 1, from: 7s}]}",
            "traffic[0].from: 7s is not a whole number of steps of 5s",
        ),
        (
            "{description: x, traffic: [{policies: all, share_of_refill: 1, spread: 7s}]}",
            "traffic[0].spread: 7s is not a whole number of steps of 5s",
        ),
        (
            "{description: x, traffic: [{policies: all, share_of_refill: 1, from: 5s, until: 5s}]}",
            "traffic[0].until: 5s is not after from (5s)",
        ),
        (
            "{description: x, traffic: [{policies: all, share_of_refill: 1, every: 1m}]}",
            "traffic[0].every: needs until",
        ),
        (
            "{description: x, traffic: [{policies: all, share_of_refill: 1, until: 1m, every: 30s}]}",
            "traffic[0].every: 30s is shorter than from 0s until 1m",
        ),
        (
            "{description: x, traffic: [{policies: all, share_of_refill: 1, until: 1m, every: 0s}]}",
            "traffic[0].every: is 0s",
        ),
        ("{description: x, faults: [{kind: flood}]}", "faults[0].kind: "),
        ("{description: x, faults: [{kind: outage, status: OK}]}", "faults[0].status: "),
        (
            "{description: x, faults: [{kind: slow, at_least: 2s, at_most: 1s}]}",
            "faults[0].at_most: 1s is below at_least (2s)",
        ),
        (
            "{description: x, faults: [{kind: garbage, kinds: [rubbish]}]}",
            "faults[0].kinds: rubbish listed; the kinds are undecodable",
        ),
        ("{description: x, faults: [{kind: garbage, kinds: []}]}", "faults[0].kinds: none listed"),
        (
            "{description: x, category_changes: [{at: 0s, category: A}]}",
            "category_changes[0].at: is not after the start; set category",
        ),
        (
            "{description: x, category_changes: [{at: 3s, category: A}]}",
            "category_changes[0].at: 3s is not a whole number of steps of 5s",
        ),
    ],
)
def test_a_mistake_is_told_with_file_and_key(text: str, message: str):
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "mine.yml")

    assert str(caught.value).startswith("mine.yml: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_scenario_is_told_with_the_shipped_ones():
    with pytest.raises(
        ConfigurationError, match=r"nope: no such scenario file; the shipped scenarios are blackout, .*steady"
    ):
        load("nope")


def test_a_file_that_is_no_text_is_told(tmp_path: Path):
    file = tmp_path / "bad.yml"
    file.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigurationError, match=r"bad\.yml: is not YAML: line 1: it holds what is not text in UTF-8"):
        load(file)

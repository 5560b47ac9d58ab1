"""Rule files are loaded whole, or refused with everything that is wrong with them."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from exporter.alerts.history import History
from exporter.alerts.lifecycle import evaluate, lookback_ms
from exporter.errors import RuleFileInvalid
from exporter.rules.files.compiler import Options
from exporter.rules.files.documents import MOST_NODES
from exporter.rules.files.loading import MOST_BYTES, checksum, load
from exporter.rules.promql.unsupported import of_function
from exporter.rules.templates.values import External
from exporter.yaml_text import compose
from tests.support.builders import PARTICIPANT, POLICY, alert, bucket, failed, poll, view
from tests.support.rules import rule_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.alerts.alert import Alert, Fingerprint, RuleSample
    from exporter.rules.rule import AnyCompiledRule

LOW_VIEW = view(poll(bucket(3_600)))
DOWN_VIEW = view(failed())
PARTICIPANT_LABEL = {"participant": PARTICIPANT}
LOW = """
alert: TokensLow
expr: dict_rate_limit_utilization_percent >= 80
for: 1m30s
keep_firing_for: 15s
labels: {severity: warning, team: tokens}
annotations: {summary: "{{ $labels.policy }}"}
"""


def findings(file: str) -> list[str]:
    with pytest.raises(RuleFileInvalid) as refused:
        load([file])
    assert str(refused.value) == "\n".join(map(str, refused.value.findings))
    told = [str(finding).removeprefix(f"{file}:") for finding in refused.value.findings]
    assert all("error: " in one for one in told)
    return [one.replace("error: ", "", 1) for one in told]


def written(tmp_path: Path, text: str) -> str:
    file = tmp_path / "rules.yml"
    file.write_text(dedent(text))
    return str(file)


def test_a_rule_is_what_its_file_says(tmp_path: Path):
    [rule] = load([rule_file(tmp_path, LOW)]).rules

    assert (rule.group, rule.name, rule.severity) == ("dict", "TokensLow", "warning")
    assert rule.expr == "dict_rate_limit_utilization_percent >= 80"
    assert (rule.for_seconds, rule.keep_firing_for_seconds) == (90.0, 15.0)
    assert {name: template.text for name, template in rule.labels.items()} == {"severity": "warning", "team": "tokens"}
    assert rule.annotations["summary"].text == "{{ $labels.policy }}"
    assert (rule.file, rule.line) == (str(tmp_path / "rules.yml"), 4)
    assert rule.per_policy


def test_groups_keep_their_order_over_files(tmp_path: Path):
    rule_file(tmp_path, LOW, name="b.yml", group="second")
    rule_file(tmp_path, LOW, name="a.yml", group="first")
    rule_file(tmp_path, LOW, name="c.yaml", group="other")

    rule_set = load([str(tmp_path / "*.yaml"), str(tmp_path / "*.yml"), str(tmp_path / "a.yml")])

    assert [group.name for group in rule_set.groups] == ["other", "first", "second"]
    assert rule_set.groups[0].interval_seconds is None


def test_an_interval_is_read_and_has_no_effect(tmp_path: Path):
    file = written(tmp_path, "groups: [{name: g, interval: 1m, rules: []}]")

    [group] = load([file]).groups

    assert group.interval_seconds == 60.0
    assert group.rules == ()


@pytest.mark.parametrize("text", ["", "# nothing\n", "groups:\n", "groups: []\n"])
def test_a_file_without_groups_has_no_rules(tmp_path: Path, text: str):
    assert load([written(tmp_path, text)]).rules == ()


def test_a_label_policy_decides_what_an_alert_is_about(tmp_path: Path):
    up = "alert: Down\nexpr: dict_rate_limit_up == 0\nlabels: {{severity: info, policy: {}}}"

    assert load([rule_file(tmp_path, up.format("ALL"))]).rules[0].per_policy
    assert not load([rule_file(tmp_path, LOW.replace("team: tokens", 'policy: ""'))]).rules[0].per_policy


OWN_NAME = (
    "`dict_rate_limit_up` is a name for series of this program's own; a colon makes it another, as in "
    "participant:dict_rate_limit_up:max"
)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path):
    file = written(
        tmp_path,
        """\
        groups:
          - name: dict
            limit: many
            rules:
              - alert: Low
                expr: |
                  dict_rate_limit_utilization_percent > 80
                    or histogram_sum(dict_rate_limit_up) > 1
                labels: {participant: x, a-b: c, __name__: d}
                annotations: {summary: "{{ nonsense }}"}
              - alert: High
                expr: dict_rate_limit_up >
                for: 60
                labels: {severity: fatal, team: "{{ $x := 5 }}"}
              - record: dict_rate_limit_up
                expr: vector(1)
              - expr: dict_rate_limit_up
              - alert: Nothing
                labels: {severity: info}
              - alert: Twice
                expr: dict_rate_limit_up
                expr: dict_rate_limit_up
                unknown: 5
                labels: {severity: info}
                labels2: {}
          - name: dict
          - rules: 5
        other: 1
        """,
    )

    assert findings(file) == [
        "3: dict: a limit is written as 10; without one, or with 0, there is none",
        "5: dict/Low: a rule needs the label severity (info, warning, critical)",
        f"8: dict/Low: column 16: `histogram_sum(dict_rate_limit_up)`: {of_function('histogram_sum')}",
        "9: dict/Low: `a-b` is not a name for a label",
        "9: dict/Low: `__name__` is not a name for a label",
        "9: dict/Low: a rule may not set the label participant",
        "10: dict/Low: annotation summary: `nonsense` is not a function of templates",
        "12: dict/High: column 35: `dict_rate_limit_up >` cannot be parsed: unexpected end",
        "13: dict/High: '60' is not a duration; write it as 15s, 5m or 1h30m",
        "14: dict/High: severity `fatal` is none of info, warning, critical",
        "14: dict/High: label team: variables of one's own are not supported",
        f"15: dict/dict_rate_limit_up: {OWN_NAME}",
        "16: dict/dict_rate_limit_up: column 15: `vector(1)` gives series that do not carry participant",
        "17: dict: a rule needs `alert` or `record`",
        "18: dict/Nothing: a rule needs `expr`",
        "22: dict/Twice: expr is given twice, first in line 21",
        "23: dict/Twice: unknown field unknown",
        "25: dict/Twice: unknown field labels2; did you mean labels?",
        "26: group dict is defined already, in line 2",
        "27: a group needs a name",
        "27: expected a list, found a text",
        "28: unknown field other; a rule file holds `groups` alone",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("groups: [", "2: is not YAML, column 1: a [ or { is not closed, or a text that begins so is not in quotes"),
        ("a: b: c", '1: a text that holds `: ` is written in quotes: a: "b: c"'),
        (
            "groups: []\n---\ngroups: []",
            "2: is not YAML, column 1: a second document begins, and only the",
        ),
        ("- 1", "1: expected keys with values, found a list; a rule file holds `groups` alone"),
        ("groups: 5", "1: expected a list, found a text"),
        ("groups: [5]", "1: expected keys with values, found a text"),
        (
            "groups: [{name: g, rules: [{alert: [1], expr: x}]}]",
            "1: g: expected text, found a list; where a text is",
        ),
        ("groups: [{name: g, rules: [{[a]: b, alert: A}]}]", "1: g/A: only plain keys are supported"),
        (
            "groups: [{name: g, rules: [{<<: a, alert: A}]}]",
            "1: is not YAML, column 33: << merges a mapping",
        ),
        ('groups: [{name: "a\\0b"}]', "1: a NUL character is not supported: the database does not take it"),
        ("groups: " + "[" * 100_000, "1: is not YAML, column 58: more than 50 levels deep"),
        ("groups: []" + " " * 16_000_000, " cannot be read: it has more than 16,000,000 bytes"),
    ],
)
def test_what_is_no_rule_file_is_refused(tmp_path: Path, text: str, told: str):
    assert any(found.startswith(told) for found in findings(written(tmp_path, text)))


NESTED = [
    (lambda n: "{{ if true }}" * n + "x" + "{{ end }}" * n, "{{if}} within one another"),
    (lambda n: "{{ if false }}" + "{{ else if true }}x" * (n - 1) + "{{ end }}", "{{if}} within one another"),
    (lambda n: "{{ 1" + " | print" * (n - 1) + " }}", "commands in one {{}}"),
    (lambda n: "{{" + "(" * (n - 1) + "1" + ")" * (n - 1) + "}}", "commands in one {{}}"),
    (lambda n: "{{" + "(print " * (n - 1) + "1" + ")" * (n - 1) + " | print}}", "commands in one {{}}"),
]


@pytest.mark.parametrize(("template", "told"), NESTED)
@pytest.mark.parametrize("deep", [51, 10_000])
def test_a_template_that_is_nested_too_deeply_is_refused(tmp_path: Path, template, told: str, deep: int):
    text = LOW.replace("{{ $labels.policy }}", template(deep))

    assert f"annotation summary: more than 50 {told} are not supported" in "".join(findings(rule_file(tmp_path, text)))


@pytest.mark.parametrize("template", [template for template, _ in NESTED])
def test_a_template_as_deep_as_may_be_is_expanded_wherever_it_is(tmp_path: Path, template):
    text = LOW.replace("{{ $labels.policy }}", template(49))
    (compiled,) = load([str(rule_file(tmp_path, text))]).rules

    def within(frames: int) -> list[RuleSample]:
        return within(frames - 1) if frames else compiled.evaluate(LOW_VIEW, [])

    assert within(300)[0].annotations["summary"]


@pytest.mark.parametrize("what", ["folder", "pipe", "device", "memory"])
def test_what_is_no_regular_file_of_sane_size_is_refused_unread(tmp_path: Path, what: str):
    file = tmp_path / "rules.yml"
    if what == "folder":
        file.mkdir()
    elif what == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero" if what == "device" else "/proc/self/mem")

    assert "cannot be read" in findings(str(file))[0]


def test_files_without_any_rule_are_refused_unless_that_is_meant(tmp_path: Path):
    file = str(written(tmp_path, ""))

    with pytest.raises(RuleFileInvalid, match=r"there is no rule at all; where that is meant, set rules\.allow_none"):
        load([file], allow_none=False)
    assert load([file], allow_none=True).rules == ()


def test_a_list_of_many_things_that_are_no_groups_is_refused_soon(tmp_path: Path):
    def seconds(things: int) -> float:
        file = written(tmp_path, "groups: [" + "1," * things + "]")
        begun = time.process_time()
        assert findings(file)[0] == "1: expected keys with values, found a text"
        return time.process_time() - begun

    few, many = (min(seconds(things) for _ in range(3)) for things in (500, 5_000))

    assert many < 40 * few  # 10 in proportion, 100 in proportion to the square


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path):
    file = tmp_path / "rules.yml"
    file.write_bytes(b"groups: \xff")

    assert findings(str(file)) == ["1: is not UTF-8"]


def test_a_pattern_that_matches_no_file_is_refused(tmp_path: Path):
    with pytest.raises(RuleFileInvalid, match=r"nothing\*\.yml: error: no rule file matches"):
        load([rule_file(tmp_path, LOW), str(tmp_path / "nothing*.yml")])


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    (tmp_path / "rules.yml").mkdir()

    assert findings(str(tmp_path / "rules.yml")) == [" cannot be read: it is not a regular file"]


def group(of: str, *rules: str) -> str:
    """A group; ``of`` are lines of it."""
    made = "".join(f"      - {{labels: {{severity: info}}, {one}}}\n" for one in rules)
    return f"  - name: {of}\n    rules:\n{made}"


def groups(tmp_path: Path, *texts: str) -> str:
    (tmp_path / "rules.yml").write_text("groups:\n" + "".join(texts))
    return str(tmp_path / "rules.yml")


def test_labels_of_a_group_are_those_of_its_rules_unless_they_have_their_own(tmp_path: Path):
    file = written(
        tmp_path,
        """\
        groups:
          - name: g
            labels: {severity: critical, team: pix, at: "{{ $value }}"}
            rules:
              - {alert: A, expr: dict_rate_limit_up == 0}
              - {alert: B, expr: dict_rate_limit_up == 0, labels: {severity: info, team: ""}}
        """,
    )

    first, second = load([file]).rules

    [of_first], [of_second] = (rule.evaluate(DOWN_VIEW, ()) for rule in (first, second))
    assert of_first.labels == {"alertname": "A", "severity": "critical", "team": "pix", "at": "0", **PARTICIPANT_LABEL}
    assert of_second.labels == {"alertname": "B", "severity": "info", "at": "0", **PARTICIPANT_LABEL}
    assert (first.severity, second.severity) == ("critical", "info")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("labels: {a-b: c}", "3: g: `a-b` is not a name for a label"),
        ("labels: {participant: c}", "3: g: a rule may not set the label participant"),
        ('labels: {team: "{{ $x }}"}', "3: g: label team: `$x` is not supported"),
        ("labels: [a]", "3: g: expected keys with values, found a list"),
        ("query_offset: soon", "3: g: 'soon' is not a duration"),
        ("query_offset: -1m", "3: g: '-1m' is not a duration"),
        ("limit: 1.5", "3: g: a limit is written as 10"),
        ('limit: "5"', "3: g: a limit is written as 10"),
        ("limit: 0x10", "3: g: a limit is written as 10"),
        ("limit: [1]", "3: g: a limit is written as 10"),
    ],
)
def test_what_is_wrong_with_a_group_is_told(tmp_path: Path, line: str, why: str):
    [told] = findings(groups(tmp_path, group(f"g\n    {line}", "alert: A, expr: dict_rate_limit_up == 0")))

    assert told.startswith(why)


@pytest.mark.parametrize(("line", "limit"), [("limit: 7", 7), ("limit: 1_000", 1000), ("limit: -1", 0), ("limit:", 0)])
def test_a_group_has_a_limit(tmp_path: Path, line: str, limit: int):
    rule_set = load([groups(tmp_path, group(f"g\n    {line}", "alert: A, expr: dict_rate_limit_up == 0"))])

    assert rule_set.rules[0].limit == rule_set.groups[0].limit == limit


def test_rules_of_a_group_with_an_offset_see_what_was_so_long_ago(tmp_path: Path):
    rules = ("alert: Low, expr: dict_rate_limit_available_tokens < time() - 1.7e9",)
    [rule] = load([groups(tmp_path, group("g\n    query_offset: 1m", *rules))]).rules
    history = History(rule.lookback_ms)
    for seconds in (0, 15, 60, 75):
        history.add(seen := view(poll(bucket(1000 + seconds), seconds=seconds)))

    [sample] = rule.evaluate(seen, (), history)

    assert rule.lookback_ms == {"dict_rate_limit_available_tokens": 360_000}
    assert sample.value == 1015


@pytest.mark.parametrize(
    "selector", ["ALERTS", "ALERTS_FOR_STATE", 'ALERTS{alertname="Low"}', 'ALERTS{alertname=~"L.*"}']
)
def test_alerts_of_any_group_are_seen(tmp_path: Path, selector: str):
    rules = f"alert: Other, expr: '{selector}'"
    file = groups(tmp_path, group("a", "alert: Low, expr: dict_rate_limit_up == 0"), group("b", rules))

    low, other = load([file]).rules

    assert [sample.labels["policy"] for sample in other.evaluate(LOW_VIEW, [alert("Low")])] == [POLICY]
    assert low.evaluate(LOW_VIEW, []) == []


def test_alerts_of_a_group_with_another_offset_are_seen_when_they_were_written(tmp_path: Path):
    file = groups(
        tmp_path,
        group("late\n    query_offset: 20s", "alert: Late, expr: ALERTS"),
        group("now", "alert: Down, expr: dict_rate_limit_up == 0"),
    )
    rules = load([file]).rules
    history = History(lookback_ms(rules))
    alerts: Mapping[Fingerprint, Alert] = {}
    names: list[set[str]] = []
    for seen in (view(failed(seconds)) for seconds in (0, 15, 30)):
        history.add(seen)
        alerts = evaluate(rules, seen, alerts, history=history).alerts
        names.append({alert.name for alert in alerts.values()})

    assert names == [{"Down"}, {"Down"}, {"Down", "Late"}]
    assert lookback_ms(rules)["ALERTS"] == 320_000


def test_what_an_offset_adds_counts_as_looking_back(tmp_path: Path):
    file = groups(tmp_path, group("g\n    query_offset: 1h", 'alert: A, expr: "dict_rate_limit_capacity offset 30m"'))

    with pytest.raises(
        RuleFileInvalid, match=r"looks 1h35m back \(1h of it are the group's query_offset\), and rules\.max_range is"
    ):
        load([file], Options(3600))


def test_templates_know_the_external_labels_and_the_address(tmp_path: Path):
    text = 'alert: A\nexpr: dict_rate_limit_up == 0\nlabels: {severity: info, region: "{{ $externalLabels.region }}"}'
    file = rule_file(tmp_path, f'{text}\nannotations: {{link: "{{{{ $externalURL }}}}/x"}}')

    [rule] = load([file], Options(external=External({"region": "south"}, "http://here"))).rules

    [sample] = rule.evaluate(DOWN_VIEW, ())
    assert sample.labels["region"] == "south"
    assert sample.annotations == {"link": "http://here/x"}


def test_the_checksum_changes_with_the_files_and_never_fails(tmp_path: Path):
    pattern = str(tmp_path / "*.yml")
    seen = [checksum([pattern])]

    rule_file(tmp_path, LOW, name="a.yml")
    seen.append(checksum([pattern]))
    rule_file(tmp_path, LOW.replace("80", "81"), name="a.yml")
    seen.append(checksum([pattern]))
    (tmp_path / "b.yml").mkdir()
    seen.append(checksum([pattern]))

    assert len(set(seen)) == 4
    assert checksum([pattern]) == seen[-1]


def test_files_that_are_the_same_have_one_checksum(tmp_path: Path):
    file = rule_file(tmp_path, LOW)

    before = load([file]).checksum
    Path(file).touch()

    assert load([file]).checksum == before


COMMON = """\
groups:
- name: g
  rules:
  - &low
    alert: Low
    expr: dict_rate_limit_up == 0
    for: 1m
    labels: &labels {severity: warning, team: tokens}
  - <<: *low
    alert: Gone
    labels: {<<: *labels, severity: critical}
  - <<: [{for: 5m}, *low]
    labels: {severity: info}
"""


def test_merge_keys_and_aliases_are_taken(tmp_path: Path):
    loaded = load([written(tmp_path, COMMON)]).rules

    assert [(r.name, r.line, r.for_seconds, {n: t.text for n, t in r.labels.items()}) for r in loaded] == [
        ("Low", 5, 60.0, {"severity": "warning", "team": "tokens"}),
        ("Gone", 10, 60.0, {"severity": "critical", "team": "tokens"}),
        ("Low", 12, 300.0, {"severity": "info"}),
    ]


def test_a_key_twice_in_what_is_merged_is_told(tmp_path: Path):
    text = COMMON.replace("[{for: 5m}", "[{for: 5m, for: 6m}").replace("alert: Gone", "alert: Gone\n    alert: Gone")

    assert findings(written(tmp_path, text)) == [
        "11: g/Gone: alert is given twice, first in line 10",
        "13: g/Low: for is given twice, first in line 13",
    ]


def test_aliases_that_explode_are_refused_soon(tmp_path: Path):
    rule = "{alert: A, expr: dict_rate_limit_up == 0, labels: {severity: info}}"
    file = written(tmp_path, f"groups:\n- name: g\n  rules:\n  - &r {rule}\n" + "  - *r\n" * 100_000)

    assert findings(file) == ["33336: is not YAML, column 5: more than 300,000 nodes when its aliases are followed"]


def test_a_rule_that_is_there_often_as_an_alias_is_one_rule(tmp_path: Path):
    rule = "{alert: A, expr: dict_rate_limit_up == 0, labels: {severity: info}}"
    file = written(tmp_path, f"groups:\n- name: g\n  rules:\n  - &r {rule}\n" + "  - *r\n" * 20_000)

    loaded = load([file]).rules

    assert len(loaded) == 20_001
    assert len({id(rule) for rule in loaded}) == 1


def test_ten_thousand_rules_like_the_shipped_ones_may_be_in_a_file():
    shipped = (Path(__file__).parents[4] / "rules" / "dict-rate-limit.yml").read_text()
    head, rules = re.split(r"(?<=\n    rules:\n)", shipped, maxsplit=1)
    times = 1_000 // rules.count("- alert:") + 1

    assert compose(head + rules * times, max_nodes=MOST_NODES // 10)
    assert len(head + rules * times) < MOST_BYTES // 10


@pytest.mark.parametrize(
    ("tagged", "told"),
    [
        ("!!int 5", "expected text, found what is tagged !!int"),
        ("!!binary x", "expected text, found what is tagged !!binary and is no text in base64"),
        ("!!null x", "expected text, found what is tagged !!null"),
    ],
)
def test_a_tag_that_makes_no_text_is_refused(tmp_path: Path, tagged: str, told: str):
    assert findings(rule_file(tmp_path, LOW.replace("tokens}", f"{tagged}}}"))) == [f"8: dict/TokensLow: {told}"]


def test_a_tag_of_a_text_is_taken(tmp_path: Path):
    [rule] = load([rule_file(tmp_path, LOW.replace("tokens}", "!!binary aGk=, zone: !mine z, area: !!null ~}"))]).rules

    assert {name: rule.labels[name].text for name in ("team", "zone", "area")} == {
        "team": "hi",
        "zone": "z",
        "area": "",
    }


def test_an_expression_of_too_many_characters_is_refused_soon(tmp_path: Path):
    text = LOW.replace(">= 80", f">= {' ' * 100_000}80")

    assert "characters; more than 100,000 are not supported" in findings(rule_file(tmp_path, text))[0]
    assert len(findings(rule_file(tmp_path, text))[0]) < 11_000


SCALARS = [
    ("|", "|\n      max by (participant) (\n        dict_rate_limit_up\n      ) == = 0\n", "8", "12"),
    ("|2-, a comment", "|2- # = or ==\n      # = 5\n      dict_rate_limit_up\n      == = 0\n", "8", "10"),
    (">-", ">-\n      max by (participant) (\n        dict_rate_limit_up\n      )\n      == = 0\n", "9", "10"),
    (">, empty lines", ">\n\n\n      dict_rate_limit_up\n\n      == = 0\n", "10", "10"),
    ("plain", "dict_rate_limit_up == = 0", "5", "33"),
    ("an anchor", "&x dict_rate_limit_up == = 0", "5", "36"),
    ("a tag", "!!str dict_rate_limit_up == = 0", "5", "39"),
    ("an anchor and a block", "&x |\n      dict_rate_limit_up == = 0\n", "6", "29"),
    ("plain, over lines", "dict_rate_limit_up\n      ==\n      = 0", "7", "7"),
    ("single quotes", "'dict_rate_limit_up{policy=''A''}\n      == = 0'", "6", "10"),
    ("double quotes", '"dict_rate_limit_up{policy=\\"A\\"} \\\n      == \\n = 0"', "6", "13"),
    ("a character beyond 16 bits", "'dict_rate_limit_up{policy=\"\U0001f600\"} == = 0'", "5", "46"),
]


@pytest.mark.parametrize(("text", "line", "column"), [case[1:] for case in SCALARS], ids=[case[0] for case in SCALARS])
def test_what_cannot_be_parsed_is_told_with_its_line_and_column_however_it_is_written(
    tmp_path: Path, text: str, line: str, column: str
):
    rest = f"{text.rstrip()}\n    labels: {{severity: info}}\n"
    file = written(tmp_path, f"groups:\n- name: g\n  rules:\n  - alert: A\n    expr: {rest}")

    [found] = findings(file)

    assert found.startswith(f"{line}: g/A: column {column}: `")
    assert "` cannot be parsed: unexpected `=`" in found
    assert "\n" not in found


@pytest.mark.parametrize("style", ["|", ">", "|-", ">+"])
def test_what_is_refused_is_told_with_the_line_where_it_stands(tmp_path: Path, style: str):
    file = written(
        tmp_path,
        f"""\
        groups:
        - name: g
          rules:
          - alert: A
            expr: {style}
              max by (participant) (dict_rate_limit_up) == 0
              or
              max by (participant) (
                max by (policy) (dict_rate_limit_capacity) == 0
              )
              or
              sum(dict_rate_limit_up)
            labels: {{severity: info}}
        """,
    )

    assert [found.partition("`: ")[0] for found in findings(file)] == [
        "9: g/A: column 9: `max by (policy) (dict_rate_limit_capacity)",
        "12: g/A: column 7: `sum(dict_rate_limit_up)",
    ]


def test_words_of_a_comment_are_not_taken_for_the_expressions(tmp_path: Path):
    text = "alert: A\nexpr: |\n  # sum (dict_rate_limit_up)\n  sum(dict_rate_limit_up)\nlabels: {severity: info}"

    assert findings(rule_file(tmp_path, text))[0].startswith("7: dict/A: column 9: `sum(dict_rate_limit_up)`")


def test_an_escape_that_is_not_followed_leaves_the_line_of_the_key(tmp_path: Path):
    text = 'expr: "dict_rate_limit_up \\x3d= = 0"'

    [found] = findings(rule_file(tmp_path, f"alert: A\n{text}\nlabels: {{severity: info}}"))

    assert (
        found == "5: dict/A: `dict_rate_limit_up == = 0` cannot be parsed: 1:23: unexpected `=`; a comparison is "
        "written ==, >=, <= or !="
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "summary: {{ $value }} is low",
            'a text that begins with {{ is written in quotes: summary: "{{ $value }} is low"',
        ),
        (
            'summary: {{ print "x" }}',
            """where a text is meant, write it in quotes: '{{ print "x" }}'""",
        ),
        (
            "summary: {{ $value }}",
            'found keys with values; where a text is meant, write it in quotes: "{{ $value }}"',
        ),
        ("summary: Low: {{ $value }}", 'a text that holds `: ` is written in quotes: summary: "Low: {{ $value }}"'),
        ("summary: `{{ $value }}`", 'a text that begins with ` is written in quotes: summary: "`{{ $value }}`"'),
        ("summary: [{{ $value }}", "a text that begins with [ is written in quotes"),
        ("summary: 'low", "is not YAML, column 16: a quote is not closed"),
        ("\tsummary: low", "is not YAML, column 1: a tab cannot indent; write spaces"),
    ],
)
def test_what_yaml_would_have_in_quotes_is_told_with_the_line_in_quotes(tmp_path: Path, line: str, told: str):
    indent = "" if line.startswith("\t") else "      "
    file = tmp_path / "rules.yml"
    file.write_text(
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: dict_rate_limit_up == 0\n"
        f"    labels: {{severity: info}}\n    annotations:\n{indent}{line}\n"
    )

    [found] = findings(str(file))
    assert found.startswith("8: ")
    assert told in found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("spec: {groups: []}", "1: unknown field spec; a rule file holds `groups` alone"),
        ("group: []", "1: unknown field group; did you mean groups?"),
        ("groups: [{name: g, rules: [], intervall: 5m}]", "1: unknown field intervall; did you mean interval?"),
        ("groups: [{name: g, rules: [{alert: A, exp: x}]}]", "1: g/A: unknown field exp; did you mean expr?"),
    ],
)
def test_an_unknown_field_is_told_with_the_one_that_is_meant(tmp_path: Path, text: str, told: str):
    assert findings(written(tmp_path, text))[0].startswith(told)


NO_NAME = "is not a name for a series: it has letters, digits, _ and : only, no digit first"
NO_METRIC = "is not a metric of this program, and"


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("{record: a:b, alert: A, expr: dict_rate_limit_up}", "A: a rule has either `alert` or `record`"),
        ("{record: a:b, expr: X, for: 1m}", "a:b: `for` is for alerts: a rule that records has none"),
        (
            "{record: a:b, expr: X, keep_firing_for: 1m}",
            "a:b: `keep_firing_for` is for alerts: a rule that records has none",
        ),
        (
            "{record: a:b, expr: X, annotations: {a: b}}",
            "a:b: `annotations` is for alerts: a rule that records has none",
        ),
        ("{record: 'a:{}', expr: X}", f"a:{{}}: `a:{{}}` {NO_NAME}; an expression stands in `expr`"),
        ("{record: 5m, expr: X}", f"5m: `5m` {NO_NAME}"),
        ("{record: é, expr: X}", f"é: `é` {NO_NAME}"),
        ("{record: a:b, expr: X, labels: {participant: x}}", "a:b: a rule may not set the label participant"),
        ("{record: a:b, expr: 5}", "a:b: column 29: `5` is a number: a rule needs series that carry participant"),
        (
            "{record: a:low, expr: a:lw}",
            f"a:low: column 31: `a:lw` {NO_METRIC} no rule here records it; did you mean a:low?",
        ),
        ("{record: a:low, expr: x:y}", f"a:low: column 31: `x:y` {NO_METRIC} no rule here records it"),
        (
            "{record: low_buckets, expr: low_bucket}",
            f"low_buckets: column 37: `low_bucket` {NO_METRIC} no rule here records it; did you mean low_buckets?",
        ),
    ],
)
def test_what_is_wrong_with_a_rule_that_records_is_told(tmp_path: Path, rule: str, told: str):
    rule = rule.replace("expr: X", "expr: dict_rate_limit_up")
    file = written(tmp_path, f"groups:\n  - name: g\n    rules:\n      - {rule}\n")

    assert findings(file) == [f"4: g/{told}"]


def recording(folder: Path, *rules: str) -> tuple[AnyCompiledRule, ...]:
    return load(
        [written(folder, "groups:\n  - name: g\n    rules:\n" + "".join(f"      - {r}\n" for r in rules))]
    ).rules


def test_a_rule_that_records_needs_no_severity_and_its_labels_are_no_templates(tmp_path: Path):
    (rule,) = recording(
        tmp_path, "{record: a:b, for: 0s, annotations: {}, expr: dict_rate_limit_up, labels: {a: '{{ b'}}"
    )

    assert (rule.kind, rule.name, dict(rule.labels)) == ("recording", "a:b", {"a": "{{ b"})


def test_alerts_about_what_is_recorded_are_about_buckets_where_that_is(tmp_path: Path):
    alert = "{alert: A%s, expr: '%s', labels: {severity: info}}"
    *_, of_bucket, of_participant, of_both, of_none = recording(
        tmp_path,
        alert % (0, "b:c"),
        "{record: a:b, expr: dict_rate_limit_up}",
        "{record: b:c, expr: dict_rate_limit_capacity}",
        "{record: c:d, expr: a:b}",
        "{record: c:d, expr: b:c}",
        "{record: d:e, expr: b:c, labels: {policy: ''}}",
        *(alert % (number, name) for number, name in enumerate(("b:c", "a:b", "c:d", "d:e"), 1)),
    )

    assert [rule.per_policy for rule in (of_bucket, of_participant, of_both, of_none)] == [True, False, True, False]


def test_what_is_recorded_is_kept_for_as_long_as_it_is_looked_at(tmp_path: Path):
    rules = recording(
        tmp_path,
        "{record: a:b, expr: dict_rate_limit_up}",
        "{record: c:d, expr: a:b}",
        "{record: e:f, expr: 'max_over_time(a:b[1h] offset 5m)'}",
        "{record: g:h, expr: timestamp(a:b)}",
    )

    assert [dict(rule.lookback_ms) for rule in rules] == [{}, {"a:b": 300_000}, {"a:b": 3_900_000}, {"a:b": 300_000}]


def test_it_does_not_matter_in_which_order_rules_record_what_others_are_made_of(tmp_path: Path):
    records = ("{record: a:b, expr: b:c}", "{record: b:c, expr: c:d}", "{record: c:d, expr: dict_rate_limit_up}")
    alert = "{alert: A, expr: a:b, labels: {severity: info}}"

    for order in (records, records[::-1]):
        *_, rule = recording(tmp_path, *order, alert)
        assert rule.expression.vector.data.names() == {"dict_rate_limit_up"}
        assert not rule.per_policy


def test_rules_may_record_what_is_made_of_itself(tmp_path: Path):
    recording(tmp_path, "{record: a:b, expr: a:b or b:c}", "{record: b:c, expr: 'a:b or dict_rate_limit_up'}")


def test_what_is_recorded_from_one_thing_twice_is_judged_once(tmp_path: Path):
    twice = [f"{{record: 'r:{n}', expr: 'r:{n - 1} / on (participant) (r:{n - 1} + 1)'}}" for n in range(1, 60)]
    *_, rule = recording(tmp_path, "{record: 'r:0', expr: dict_rate_limit_up}", *twice)

    assert rule.has_data(DOWN_VIEW, None)
    assert rule.expression.vector.data.names() == {"dict_rate_limit_up"}

"""YAML means here what it means in promtool: the same rule files and test files are taken, with the same content."""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING

import pytest

from exporter.rules.files.loading import attempt
from exporter.rules.promtool.runner import run_tests
from tests.support import promtool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.rules.promtool.runner import TestResult
    from tests.support.promtool import Verdict

CASES = 400
SEED = 1

pytestmark = pytest.mark.prometheus

TEST = """\
rule_files: [{rules}]
evaluation_interval: 1m
tests:
- interval: 1m
  input_series: [{{series: 'dict_rate_limit_up{{participant="1"}}', values: '0x9'}}]
  alert_rule_test:
"""
ALERTS = "".join(f"  - {{eval_time: {at}, alertname: {name}}}\n" for name in "ABCD" for at in ("0m", "3m"))

HEAD = "groups:\n- name: g\n  rules:\n"
RULE = "{alert: A, expr: dict_rate_limit_up, labels: {severity: info}}"

TAKEN = {
    "no document": "",
    "an empty document": "---\n",
    "comments": "# nothing\n",
    "a document's end": f"{HEAD}  - {RULE}\n...\n",
    "an empty document after it": f"{HEAD}  - {RULE}\n---\n",
    "comments after it": f"{HEAD}  - {RULE}\n---\n# nothing\n",
    "null": "~\n",
    "items that are null": f"{HEAD}  - {RULE}\n  -\n  - ~\n-\n",
    "carriage returns": f"{HEAD}  - {RULE}\n".replace("\n", "\r"),
    "a byte order mark": f"\ufeff{HEAD}  - {RULE}\n",
    "a directive": f"%YAML 1.1\n---\n{HEAD}  - {RULE}\n",
    "a rule again": f"{HEAD}  - &r {RULE}\n  - *r\n",
    "a rule merged": f"{HEAD}  - &r {RULE}\n  - {{<<: *r, alert: B}}\n",
    "a list of mappings merged": f"{HEAD}  - {{<<: [{{alert: A}}, {{alert: B, expr: dict_rate_limit_up}}], "
    "labels: {severity: info}}\n",
    "a merge above which a key stands": f"{HEAD}  - &r {RULE}\n  - {{alert: B, <<: *r}}\n",
    "null over what is merged": f"{HEAD}  - {{alert: A, for: , <<: {{for: 5m}}, expr: dict_rate_limit_up, "
    "labels: {severity: info, x: ~, <<: {x: y}}}\n",
    "an anchor's name again": f"{HEAD}  - &a {RULE}\n  - {{alert: B, expr: &a dict_rate_limit_up, "
    "labels: {severity: info, x: *a}}\n",
    "a text that looks like a merge": f"{HEAD}  - {RULE[:-2]}, x: <<}}}}\n",
    "tags of texts": f"{HEAD}  - {{alert: !!str A, expr: dict_rate_limit_up, "
    "labels: {severity: info, x: !mine y, b: !!binary aGk=}}\n",
}
REFUSED = {
    "a key twice": f"{HEAD}  - {{alert: A, alert: A, expr: dict_rate_limit_up, labels: {{severity: info}}}}\n",
    "a label twice": f'{HEAD}  - {RULE[:-2]}, "severity": info}}}}\n',
    "two merges": f"{HEAD}  - {{<<: {{alert: A}}, <<: {{expr: dict_rate_limit_up}}, labels: {{severity: info}}}}\n",
    "a merge of nothing": f"{HEAD}  - {{<<: , alert: A, expr: dict_rate_limit_up, labels: {{severity: info}}}}\n",
    "a merge of a text": f"{HEAD}  - {{<<: x, alert: A, expr: dict_rate_limit_up, labels: {{severity: info}}}}\n",
    "a merge of an alias of a list": f"{HEAD}  - {{<<: &l [{{alert: A}}]}}\n  - {{<<: *l}}\n",
    "a merge in quotes": f'{HEAD}  - {{"<<": {{alert: A}}, expr: dict_rate_limit_up, labels: {{severity: info}}}}\n',
    "an alias of nothing": f"{HEAD}  - *r\n",
    "what holds itself": f"{HEAD}  - &r {{alert: A, expr: dict_rate_limit_up, labels: {{severity: info, x: *r}}}}\n",
    "another YAML": f"%YAML 1.2\n---\n{HEAD}  - {RULE}\n",
    "an end alone": "...\n",
    "a list": "[]\n",
    "an empty text": '""\n',
    "aliases that explode": f"{HEAD}  - &r {RULE}\n" + "  - *r\n" * 100_000,
    "aliases of aliases": "".join(
        ["a: &a0 [x, x, x, x, x, x, x, x, x, x]\n"]
        + [f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)]
    )
    + "groups: *a8\n",
}
NOT_SEEN = {
    "another document": f"{HEAD}  - {RULE}\n---\n{HEAD}  - {RULE}\n",
    "another document after nothing": f"---\n---\n{HEAD}  - {RULE}\n",
    "what is no YAML after the end": f"{HEAD}  - {RULE}\n...\n]\n",
}
"""What promtool passes over, though it would be rules."""

MERGED_IN_TESTS = {
    "a test merged": "  - &t {eval_time: 1m, alertname: A}\n  - {<<: *t, alertname: B}\n",
    "two merges": "  - {<<: {alertname: A}, <<: {eval_time: 1m}}\n",
    "a list of mappings merged": "  - {<<: [{alertname: A}, {alertname: B, eval_time: 1m}]}\n",
    "labels merged": "  - {eval_time: 1m, alertname: A, exp_alerts: [{exp_labels: {severity: info, "
    '<<: {participant: "1"}}}]}\n',
    "an annotation merged": "  - {eval_time: 1m, alertname: A, exp_alerts: [{exp_annotations: {<<: {a: b}, c: d}}]}\n",
}
REFUSED_IN_TESTS = {
    "a key twice": "  - {eval_time: 1m, alertname: A, alertname: A}\n",
    "a label twice": "  - {eval_time: 1m, alertname: A, exp_alerts: [{exp_labels: {a: b, a: b}}]}\n",
    "a label merged and given": "  - {eval_time: 1m, alertname: A, exp_alerts: [{exp_labels: {<<: {a: b}, a: b}}]}\n",
    "a label given and merged": "  - {eval_time: 1m, alertname: A, exp_alerts: [{exp_labels: {a: b, <<: {a: b}}}]}\n",
    "a label merged twice": "  - {eval_time: 1m, alertname: A, exp_alerts: [{exp_labels: {<<: [{a: b}, {a: b}]}}]}\n",
    "a merge of a text": "  - {<<: x, eval_time: 1m, alertname: A}\n",
}


def judged(folder: Path, files: list[str]) -> list[tuple[Verdict, TestResult, str]]:
    """promtool's verdict and ours on each rule file, and why it is refused here."""
    tests: list[Path] = []
    for number, text in enumerate(files):
        (folder / f"r{number}.yml").write_bytes(text.encode())
        tests.append(folder / f"t{number}.yml")
        tests[-1].write_text(TEST.format(rules=f"r{number}.yml") + ALERTS)
    theirs = promtool.run_tests(tests)
    refusals = ["\n".join(map(str, attempt([str(folder / f"r{n}.yml")]).errors)) for n in range(len(files))]
    return list(zip(theirs, run_tests([str(test) for test in tests]), refusals, strict=True))


def refused(verdict: Verdict) -> bool:
    """Whether it is about the file: in every file that is taken, an alert fires that no test expects."""
    return not verdict.passed and "alertname: " not in verdict.output


def alerts(told: str) -> set[tuple[str, ...]] | None:
    """The alerts that a verdict tells; None where only annotations tell two apart."""
    seen: set[tuple[str, ...]] = set()
    for head, body in re.findall(r"alertname: (.*?), \n(.*?)(?=\n    alertname|\Z)", told, re.DOTALL):
        found = re.findall(r"Labels:(.*)\n\s*Annotations:(\{.*\})", body)
        if len({labels for labels, _ in found}) < len(set(found)):
            return None
        seen |= {(head, *alert) for alert in found}
    return seen


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN)
def test_what_promtool_takes_is_taken_with_the_same_rules(tmp_path: Path, text: str):
    [(theirs, ours, refusal)] = judged(tmp_path, [text])

    assert refusal == ""
    assert alerts(ours.render()) == alerts(theirs.output)
    assert bool(alerts(theirs.output)) == ("alert" in text)


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_promtool_refuses_is_refused(tmp_path: Path, text: str):
    [(theirs, _, refusal)] = judged(tmp_path, [text])

    assert not theirs.passed
    assert "yaml: " in theirs.output
    assert refusal


@pytest.mark.parametrize("text", NOT_SEEN.values(), ids=NOT_SEEN)
def test_rules_that_promtool_would_pass_over_are_refused(tmp_path: Path, text: str):
    [(theirs, _, refusal)] = judged(tmp_path, [text])

    assert "yaml: " not in theirs.output
    assert refusal


def told(folder: Path, checks: str) -> tuple[Verdict, TestResult]:
    (folder / "r.yml").write_text(f"{HEAD}  - {RULE}\n  - {RULE.replace('A', 'B')}\n")
    file = folder / "t.yml"
    file.write_text(TEST.format(rules="r.yml") + checks)
    return promtool.run_tests([file])[0], run_tests([str(file)])[0]


@pytest.mark.parametrize("checks", MERGED_IN_TESTS.values(), ids=MERGED_IN_TESTS)
def test_what_promtool_takes_in_test_files_is_taken_with_the_same_verdict(tmp_path: Path, checks: str):
    theirs, ours = told(tmp_path, checks)

    assert "yaml: " not in theirs.output
    assert ours.passed is theirs.passed
    assert alerts(ours.render()) == alerts(theirs.output)


@pytest.mark.parametrize("checks", REFUSED_IN_TESTS.values(), ids=REFUSED_IN_TESTS)
def test_what_promtool_refuses_in_test_files_is_refused(tmp_path: Path, checks: str):
    theirs, ours = told(tmp_path, checks)

    assert "yaml: " in theirs.output
    assert "line 7" in ours.render()


def test_a_test_that_promtool_reads_otherwise_than_it_is_written_is_refused(tmp_path: Path):
    theirs, ours = told(tmp_path, "  - &t {eval_time: 1m, alertname: A}\n  - {alertname: B, <<: *t}\n")

    assert "alertname: B" not in theirs.output
    assert "line 8: << merges alertname, which is given above it: write << first" in ours.render()


def test_generated_files_are_taken_or_refused_as_in_promtool(tmp_path: Path):
    forms = Forms(Random(SEED))
    files = [forms.file() for _ in range(CASES)]
    taken = 0
    for number, (theirs, ours, refusal) in enumerate(judged(tmp_path, files)):
        if "itself a part of" in refusal or "needs the label severity" in refusal:
            continue  # promtool passes over the one where another key goes before it, and over the other
        assert bool(refusal) is refused(theirs), f"{files[number]}\n{theirs.output}\n{refusal}"
        seen = alerts(theirs.output)
        if seen:
            taken += 1
            assert alerts(ours.render()) == seen, files[number]

    assert taken > CASES / 2


class Forms:
    """Rule files with anchors, aliases, merges, and all ways to write a text."""

    LABELS = ("team: a", "zone: b", '"zone": c', "'area': q", "? team : k", "team: 0x1F", "team: !!str 5", "team: ! q")
    LABELS += ("team: ~", "team: ", "team: yes", "team: !foo z", "team: =", "team: <<", "!!str team: w", "team: .inf")
    LABELS += ("team: 2001-01-01", "team: 'it''s'", 'team: ""', "team: !!binary aGk=", 'team: "a\\u0041"', "team: &x")
    WRONG = ("team: [x]", "team: {x: y}", "team: *nothing", "team: !!int x", "team: a: b")
    EXPRESSIONS = (
        "dict_rate_limit_up == 0",
        '"dict_rate_limit_up >= 0"',
        "'dict_rate_limit_up'",
        "!!str dict_rate_limit_up",
    )
    DURATIONS = ("for: 1m", "for: 2m", "for: ~", "for: 0", "keep_firing_for: 1m", "keep_firing_for:  ")
    HEADS = ("---\n", "%YAML 1.1\n---\n", "# c\n", "%TAG !e! tag:e,1:\n---\n", "--- # c\n")
    ENDS = ("...\n", "---\n", "---\n...\n", "...\n---\n", "---\n# c\n", "---\n{}\n", "...\n# c\n", "---\n---\n")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._named = 0
        self._labels: list[str] = []
        self._rules: list[str] = []
        self._whole: list[str] = []

    def file(self) -> str:
        self._named, self._labels, self._rules, self._whole = 0, [], [], []
        text = (self._one_of(self.HEADS) if self._is(0.2) else "") + HEAD
        for _ in range(self._random.randint(1, 4)):
            again = self._whole and self._is(0.15)
            text += f"  - {'*' + self._one_of(self._whole) if again else self._rule(whole=True)}\n"
        return text + (self._one_of(self.ENDS) if self._is(0.15) else "")

    def _rule(self, *, whole: bool) -> str:
        pairs = [
            f"alert: {self._one_of('ABCD')}",
            f"expr: {self._one_of(self.EXPRESSIONS)}",
            f"labels: {'*' + self._one_of(self._labels) if self._labels and self._is(0.2) else self._mapping(True)}",
        ]
        if self._is(0.25):
            pairs.append(self._one_of(self.DURATIONS))
        if self._is(0.3):
            pairs.append(f"annotations: {self._mapping(False)}")
        if not whole:
            pairs = [pair for pair in pairs if self._is(0.5)]
        elif self._is(0.4):
            known = [*self._rules, *self._whole]
            pairs.insert(self._random.randint(0, len(pairs)), self._merge(known, lambda: self._rule(whole=False)))
        if pairs and self._is(0.02):
            pairs.append(self._one_of(pairs))
        return self._written(pairs, self._whole if whole else self._rules)

    def _mapping(self, severity: bool) -> str:  # noqa: FBT001
        pairs = ["severity: info"] if severity else []
        for pair in self._random.sample(self.LABELS, self._random.randint(0, 3)):
            name = re.sub(r"\W|str", "", pair.split(":", 1)[0] if "!!str team" not in pair else "team")
            if all(name not in other for other in pairs) or self._is(0.02):
                pairs.append(pair)
        if self._is(0.02):
            pairs.append(self._one_of(self.WRONG))
        if self._is(0.4):
            pairs.insert(self._random.randint(0, len(pairs)), self._merge(self._labels, lambda: self._mapping(False)))
        return self._written(pairs, self._labels)

    def _merge(self, known: list[str], new: Callable[[], str]) -> str:
        def one() -> str:
            return f"*{self._one_of(known)}" if known and self._is(0.7) else new()

        key = self._one_of(("<<", "<<", "!!merge <<", "! <<"))
        if self._is(0.7):
            return f"{key}: {one()}"
        return f"{key}: [{', '.join(one() for _ in range(self._random.randint(0, 2)))}]"

    def _written(self, pairs: list[str], known: list[str]) -> str:
        text = f"{{{', '.join(pairs)}}}"
        if not self._is(0.3):
            return text
        self._named += 1
        name = "again" if self._is(0.1) else f"n{self._named}"
        known.append(name)
        return f"&{name} {text}"

    def _is(self, probability: float) -> bool:
        return self._random.random() < probability

    def _one_of(self, choices: tuple[str, ...] | list[str] | str) -> str:
        return self._random.choice(choices)

"""Comments disable checks, and nothing else in a file is taken for one."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from exporter.rules.files.loading import attempt
from exporter.rules.lint.comments import read_comments
from exporter.rules.lint.linter import warnings

if TYPE_CHECKING:
    from pathlib import Path

DISABLE = "# dict-rate-limit: disable"
FILE = """\
# of the file
groups:
  # above one
  - name: one  # of one
    # in one
    rules:
      # above A
      - alert: A  # of A
        expr: dict_rate_limit_up == 0
        # in A
        labels: {severity: info}
        # below A
      # above B
      - alert: B
        expr: |  # of B
          dict_rate_limit_up == 0
        labels:
          severity: info
  # above two
  - rules:
    # above C

    # of nothing
    - {alert: C, labels: {severity: info}, expr: dict_rate_limit_up == 0}  # end of C
    - {alert: D, labels: {severity: info}, expr: dict_rate_limit_up == 0}
    name: two
"""


def without_a_runbook(folder: Path, text: str) -> str:
    """The names of the rules that the file's comments leave without a runbook, and of checks that are unknown."""
    file = folder / "rules.yml"
    file.write_text(text)
    findings = warnings(attempt([str(file)]))
    assert {finding.check for finding in findings} <= {"lint/runbook"}
    return "".join(finding.rule for finding in findings)


@pytest.mark.parametrize(
    ("comment", "left"),
    [
        ("# none", "ABCD"),
        ("# of the file", ""),
        ("# above one", "CD"),
        ("# of one", "CD"),
        ("# in one", "CD"),
        ("# above A", "BCD"),
        ("# of A", "BCD"),
        ("# in A", "BCD"),
        ("# below A", "BCD"),
        ("# above B", "ACD"),
        ("# of B", "ACD"),
        ("# above two", "AB"),
        ("# above C", "ABD"),
        ("# end of C", "ABD"),
    ],
)
def test_a_comment_is_about_a_rule_a_group_or_the_file(tmp_path: Path, comment: str, left: str):
    assert without_a_runbook(tmp_path, FILE.replace(comment, f"{DISABLE} lint/runbook")) == left


def test_several_checks_are_named_with_commas_and_others_go_on(tmp_path: Path):
    assert without_a_runbook(tmp_path, FILE.replace("# of A", f"{DISABLE} lint/value_label, lint/runbook")) == "BCD"
    assert without_a_runbook(tmp_path, FILE.replace("# of A", f"{DISABLE} lint/value_label")) == "ABCD"


@pytest.mark.parametrize(
    "scalar",
    [
        f'"of {DISABLE} lint/x"',
        f"'of {DISABLE} lint/x'",
        f'"over lines\n  {DISABLE} lint/x"',
        f"'over lines\n  {DISABLE} lint/x'",
        "plain#dict-rate-limit:disable lint/x",
        f"|\n  {DISABLE} lint/x",
        f">-\n  of\n\n  {DISABLE} lint/x\n",
        f"[a, 'b {DISABLE} lint/x', c]",
        f'{{a: "b {DISABLE} lint/x"}}',
        f"a  # {DISABLE} lint/x",
    ],
)
def test_what_is_in_a_scalar_or_later_in_a_comment_is_no_comment_that_disables(scalar: str):
    assert read_comments(f"key: {scalar}\n") == []
    assert [c.line for c in read_comments(f"{DISABLE} lint/y\nkey: {scalar}\n")] == [1]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"key: |  {DISABLE} lint/x\n  text", 1),
        (f"key: |\n  text\n{DISABLE} lint/x\n", 3),
        (f"key: |\n    text\n\n  {DISABLE} lint/x\nother: a", 4),
        (f'key: "quoted"  {DISABLE} lint/x', 1),
        (f"key: '\U0001f600 # quoted'  {DISABLE} lint/x", 1),
        (f"key: plain\n  over lines  {DISABLE} lint/x", 2),
        (f"key: [a,  {DISABLE} lint/x\n  b]", 1),
        (f"key: {{a: b,\n {DISABLE} lint/x\n  c: d}}", 2),
        (f"key: a\r\n{DISABLE} lint/x\r\nother: b\r\n", 2),
        ("key: a  #dict-rate-limit:disable lint/x", 1),
    ],
)
def test_what_is_beside_or_below_a_scalar_is_one(text: str, line: int):
    [comment] = read_comments(text)

    assert (comment.line, comment.names) == (line, ("lint/x",))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("lint/runbok", "a comment disables `lint/runbok`, which is no check; did you mean lint/runbook?"),
        ("runbook", "a comment disables `runbook`, which is no check; did you mean lint/runbook?"),
        ("lint/runbook lint/value_label", "a comment disables `lint/runbook lint/value_label`, which is no check"),
        ("", "a comment disables ``, which is no check"),
    ],
)
def test_a_name_that_is_no_check_is_warned_of(tmp_path: Path, names: str, told: str):
    file = tmp_path / "rules.yml"
    file.write_text(dedent(FILE).replace("# in A", f"{DISABLE} {names}"))

    [finding] = [one for one in warnings(attempt([str(file)])) if one.check != "lint/runbook"]

    assert (finding.line, finding.check) == (10, "lint/unknown_check")
    assert finding.message.startswith(told)


def test_many_comments_take_time_in_proportion():
    text = "".join(f"- a: 'b # c'  {DISABLE} lint/x\n" for _ in range(20_000))

    assert len(read_comments(text)) == 20_000

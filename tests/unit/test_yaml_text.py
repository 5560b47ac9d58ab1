"""YAML is read strictly: what is there twice is told with both lines, and what explodes is refused soon."""

from __future__ import annotations

import time
from typing import Any

import pytest

from exporter import yaml_text
from exporter.errors import YamlInvalid
from exporter.yaml_text import read


def refusal(text: str | bytes) -> str:
    with pytest.raises(YamlInvalid) as refused:
        read(text)
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: a is given twice, first in line 1"),
        ("x:\n  - {c: 1,\n     c: 2}\n", "line 3: c is given twice, first in line 2"),
        ('a: 1\n"a": 2\n', "line 2: a is given twice, first in line 1"),
        ("a: 1\n!!str a: 2\n", "line 2: a is given twice, first in line 1"),
        ("k: &k a\n*k : 1\na: 2\n", "line 3: a is given twice, first in line 2"),
        ("1: a\n1: b\n", "line 2: 1 is given twice, first in line 1"),
        ("a: {<<: {b: 1}, <<: {c: 1}}", "line 1: << is given twice, first in line 1"),
        ("a: {<<: {b: 1, b: 2}}", "line 1: b is given twice, first in line 1"),
        ("x: &x {a: 1, a: 2}\ny: {<<: *x}\n", "line 1: a is given twice, first in line 1"),
        ("[{a: 1}, {a: 2}, {a: 1, a: 1}]", "line 1: a is given twice, first in line 1"),
        (f"{'k' * 100}: 1\n{'k' * 100}: 2\n", f"line 2: {'k' * 60}... is given twice, first in line 1"),
        ('"a\\nb": 1\n"a\\nb": 2\n', "line 2: a b is given twice, first in line 1"),
    ],
)
def test_a_key_twice_is_told_with_both_lines(text: str, told: str):
    assert refusal(text) == told


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("b: &b {x: 1, y: 2}\na: {<<: *b}", {"x": 1, "y": 2}),
        ("b: &b {x: 1, y: 2}\na: {<<: *b, x: 3}", {"x": 3, "y": 2}),
        ("b: &b {x: 1, y: 2}\na: {x: 3, <<: *b}", {"x": 3, "y": 2}),
        ("b: &b {x: 1, y: 2}\na: {x: , <<: *b}", {"x": None, "y": 2}),
        ("b: [&b {x: 1}, &c {x: 2, y: 3}]\na: {<<: [*b, *c, {z: 4}]}", {"x": 1, "y": 3, "z": 4}),
        ("b: &b {<<: {x: 1, y: 1}, y: 2}\na: {<<: *b, z: 3}", {"x": 1, "y": 2, "z": 3}),
        ("a: {<<: [], x: 1}", {"x": 1}),
        ("a: {<<: {x: [1]}}", {"x": [1]}),
        ("a: {'<<': 1}", {"<<": 1}),
        ("a: {x: <<}", {"x": "<<"}),
    ],
)
def test_merge_keys_are_taken(text: str, value: dict[str, Any]):
    assert read(text)["a"] == value


@pytest.mark.parametrize("merged", ["", "~", "x", "1", "[x]", "[[]]", "*list"])
def test_only_mappings_are_merged(merged: str):
    assert refusal(f"list: &list [{{}}]\na:\n  <<: {merged}\n") == (
        f"is not YAML: line 3, column {7 if merged else 6}: << merges a mapping, or a list of mappings"
    )


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "---\n", "---\n---\n", "---\n...\n", "~", "--- # nothing\n", "---\n~\n---\n{}\n"],
)
def test_a_file_may_be_empty(text: str):
    assert read(text) is None


@pytest.mark.parametrize(
    "end", ["", "...\n", "---\n", "---\n# nothing\n", "...\n---\n...\n", "---\n---\n", "---\n[]\n"]
)
def test_an_empty_document_may_follow(end: str):
    assert read(f"a: 1\n{end}") == {"a": 1}


@pytest.mark.parametrize("text", ["a: 1\n---\na: 2\n", "---\n---\na: 2\n", "a: 1\n...\n---\nb\n", "~\n---\n0\n"])
def test_a_document_that_nobody_would_read_is_refused(text: str):
    assert "a second document begins, and only the first is read" in refusal(text)


def test_an_anchor_may_be_used_again_and_stands_for_what_was_last():
    assert read("[&a 1, *a, &a 2, *a]") == [1, 1, 2, 2]
    assert read("[&a [&a 1], *a]") == [[1], 1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &a [*a]", "an alias of a node that it is itself part of"),
        ("a: &a {<<: *a}", "an alias of a node that it is itself part of"),
        ("a: *hush", "an alias without an anchor of that name before it"),
        ("a: &hush 1\n---\n- *hush", "an alias without an anchor of that name before it"),
        ("%YAML 1.2\n---\na: 1", "only YAML 1.1 is read"),
        ("a: !!int hush", "it is not of the type that it is written as"),
        ("a: !!int ''", "it is not of the type that it is written as"),
        ("a: !!bool hush", "it is not of the type that it is written as"),
        ("a: 2024-13-45", "it is not of the type that it is written as"),
        ("a: !hush 1", "could not determine a constructor for the tag"),
        ("? [a]\n: hush", "found unhashable key"),
        ("a: b: hush", "a text that holds `: ` is written in quotes"),
        (b"a: hush\xff", "it holds what is not text in UTF-8"),
        ("a: hush\0", "it holds what is not text in UTF-8"),
        ("hush: 1\na: {b: hush, b: hush}", "b is given twice"),
    ],
)
def test_what_is_wrong_is_told_without_the_values(text: str | bytes, told: str):
    assert told in refusal(text)
    assert "hush" not in refusal(text)


def bomb(levels: int, each: int = 10) -> str:
    lines = ["a0: &a0 [1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * each)}]" for n in range(1, levels)]
    return "\n".join(lines)


def merge_bomb(levels: int) -> str:
    return "\n".join(["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, levels))])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (bomb(6), 6),
        (bomb(40), 6),
        (merge_bomb(40), 15),
        ("a: &a [" + "1, " * 999 + "]\nb: [" + "*a, " * 98 + "]\nc: *a\n", 3),
        ("a:\n" + "- 1\n" * 100_000, 99_999),
    ],
)
def test_more_nodes_than_a_file_has_need_of_are_refused_where_they_become_too_many(text: str, line: int):
    assert refusal(text).startswith(f"is not YAML: line {line}, ")
    assert "more than 100,000 nodes when its aliases are followed" in refusal(text)


def test_aliases_within_reason_are_followed():
    assert read(bomb(5))["a4"][9][9][9][9] == [1]
    assert read(merge_bomb(10))["a9"] == {"x": 1}


def test_levels_are_counted_along_aliases():
    text = "\n".join(["a0: &a0 [1]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 1_000))])

    assert refusal(text) == "is not YAML: line 50, column 12: more than 50 levels deep"
    assert read("[" * 50 + "1" + "]" * 50)
    assert "line 1, column 51: more than 50 levels deep" in refusal("[" * 51 + "1" + "]" * 51)


def test_a_mapping_of_many_keys_is_read_in_proportion_to_them():
    def seconds(keys: int) -> float:
        text = "".join(f"k{number}: 1\n" for number in range(keys))
        begun = time.process_time()
        assert len(read(text)) == keys
        return time.process_time() - begun

    few, many = (min(seconds(keys) for _ in range(3)) for keys in (1_000, 10_000))

    assert many < 40 * few  # 10 in proportion, 100 in proportion to the square


def test_a_node_is_found_again_by_its_line():
    root = yaml_text.compose("a: 1\nb:\n- c\n")
    assert root is not None

    assert [yaml_text.line_of(value) for _, value in root.value] == [1, 3]

"""Expressions become trees as Prometheus reads them; what cannot be read is told with its place."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import pytest
import yaml

from exporter.rules.promql.lexer import ParseError, line_and_column
from exporter.rules.promql.literals import number_value, string_value
from exporter.rules.promql.parser import parse
from exporter.rules.promql.traversal import excerpt
from exporter.rules.promql.tree import (
    Aggregation,
    At,
    Binary,
    DurationOperation,
    LabelList,
    Number,
    Range,
    Selector,
    Span,
    Subquery,
    Text,
    Tree,
    Unary,
    walk,
)
from tests.support.random_promql import expression

HERE = Span(0, 0)
A, B, C = (Selector(name, (), span=HERE) for name in "abc")


def number(value: float) -> Number:
    return Number(value, span=HERE)


def binary(operator: str, left: Tree, right: Tree) -> Binary:
    return Binary(operator, left, right, span=HERE)


@pytest.mark.parametrize("case", yaml.safe_load(Path(__file__).with_name("parsed.yml").read_text("utf-8")), ids=str)
def test_expressions_are_right_or_wrong_as_recorded_from_promtool(case: dict[str, str]):
    text = case["expr"]
    try:
        parse(text)
        verdict = "right"
    except ParseError as error:
        line, column = line_and_column(text, error.position)
        verdict = f"{line}:{len(text.splitlines(keepends=True)[line - 1 : line][0][: column - 1].encode()) + 1}"

    assert verdict == case["verdict"]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a or b and c", binary("or", A, binary("and", B, C))),
        ("a and b unless c", binary("unless", binary("and", A, B), C)),
        ("a and b == c", binary("and", A, binary("==", B, C))),
        ("a > b + c", binary(">", A, binary("+", B, C))),
        ("a - b - c", binary("-", binary("-", A, B), C)),
        ("a + b atan2 c", binary("+", A, binary("atan2", B, C))),
        ("a ^ b ^ c", binary("^", A, binary("^", B, C))),
        ("-a ^ b", Unary("-", binary("^", A, B), span=HERE)),
        ("-a * b", binary("*", Unary("-", A, span=HERE), B)),
        ("a ^ -b * c", binary("*", binary("^", A, Unary("-", B, span=HERE)), C)),
        ("-1", number(-1)),
        ("-1 ^ a", Unary("-", binary("^", number(1), A), span=HERE)),
        ("5m", number(300)),
        ("and and or", binary("and", Selector("and", (), span=HERE), Selector("or", (), span=HERE))),
        ("sum", Selector("sum", (), span=HERE)),
        ("Sum(a) BY (b,)", Aggregation("sum", A, None, LabelList("by", ("b",)), span=HERE)),
        ("topk without () (2, a)", Aggregation("topk", A, number(2), LabelList("without", ()), span=HERE)),
        ("a + on (b) group_left (c) b", Binary("+", A, B, False, LabelList("on", ("b",)), "left", ("c",), span=HERE)),
        ("a > bool ignoring (c) b", Binary(">", A, B, True, LabelList("ignoring", ("c",)), span=HERE)),
        ("a[5m] offset -1", Range(Selector("a", (), number(-1), span=HERE), number(300), span=HERE)),
        ("a offset 2 ^ b", binary("^", Selector("a", (), number(2), span=HERE), B)),
        ("a offset 0s", A),
        ("a offset (1h + 5) * 2", Selector("a", (), DurationOperation(
            "*", DurationOperation("+", number(3600), number(5), span=HERE), number(2), span=HERE), span=HERE)),
        ("a @ -5.5", Selector("a", (), at=At(-5.5, span=HERE), span=HERE)),
        ("a[1:2m] @ end()", Subquery(A, number(1), number(120), None, At(None, "end", span=HERE), span=HERE)),
        ("a[-step():]", Subquery(A, DurationOperation("-", None, DurationOperation("step", span=HERE), span=HERE), None,
            span=HERE)),
        ("a smoothed", Selector("a", (), mode="smoothed", span=HERE)),
        ("a[5m] anchored", Range(Selector("a", (), mode="anchored", span=HERE), number(300), span=HERE)),
        ('count_values("b", a)', Aggregation("count_values", A, Text("b", span=HERE), None, span=HERE)),
    ],
)  # fmt: skip
def test_operators_bind_as_in_prometheus(text: str, tree: Tree):
    assert parse(text) == tree


def test_each_part_of_a_tree_is_where_it_says():
    random, parts = Random(1), 0
    while parts < 3000:
        text = expression(random).replace("nan", "inf").replace("0x1e", "0x1f")
        try:
            tree = parse(text)
        except ParseError:
            continue
        of_ranges = [node.selector for node in walk(tree) if isinstance(node, Range)]
        for node in walk(tree):
            if not any(node is selector for selector in of_ranges):
                parts += 1
                assert parse(excerpt(text, node.span)) == node, text


def test_an_excerpt_is_one_line_without_comments():
    text = "max by (a ,b) ( # the largest\n  x{c = 'd#' ,}\n) offset\n  5m  anchored"

    assert excerpt(text, Span(0, len(text))) == "max by (a,b) (x{c = 'd#',}) offset 5m anchored"


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("1_000", 1000), ("017", 15), ("0_17", 15), ("08", 8), ("0x1F", 31), ("0x_e", 14), ("1.5e3", 1500), (".5", 0.5),
        ("5.", 5), ("9223372036854775808", 2.0**63), ("Inf", math.inf), ("0", 0),
        ("07777777777777777777777", 7.77777e21),
    ],
)  # fmt: skip
def test_numbers_are_read_as_go_reads_them(literal: str, value: float):
    assert number_value(literal) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("literal", ["1e400", "0x8000000000000000", "0x", "1e", "1.2.3"])
def test_what_is_no_number_is_said(literal: str):
    with pytest.raises(ValueError, match=f"`{literal}` is"):
        number_value(literal)


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (r'"\a\b\f\n\r\t\v\\\""', '\a\b\f\n\r\t\v\\"'), (r"'\''", "'"), (r'"\x41\101\u00e9\U0001F600"', "AAé😀"),
        (r"`\n`", r"\n"), ('"é"', "é"), (r'"\xc3\xa9"', "é"), (r'"\xff"', "\udcff"),
    ],
)  # fmt: skip
def test_strings_are_read_as_go_reads_them(literal: str, value: str):
    assert string_value(literal) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('a{b="c', "1:5: unexpected end of a string that is not closed"),
        ("a{b=`c", "1:5: unexpected end of a string that is not closed"),
        ('"\\', "1:1: unexpected end of a string that is not closed"),
        ('"a\ufffd"', "1:1: a string that is not UTF-8"),
        ("", "1:1: there is no expression"),
        ("a{b=c}", '1:5: unexpected `c`; a text is written in quotes: b="c"'),
        ("sum by a (b)", "1:8: unexpected `a`; labels stand in brackets: by (a)"),
        ('sum by ("") (b)', "1:9: a label has a name, which is UTF-8"),
        ("a[x]", "1:3: unexpected `x`: a duration is written as 5m or 300"),
        ("a[*]", "1:3: unexpected `*`; a duration is written as 5m or 300"),
        ("a[#c\n5m]", "1:3: unexpected character `#`"),
        ("a[:5m]", "1:4: unexpected `:`"),
        ("a[5m::]", "1:6: unexpected `:`"),
        ("a[5m/0]", "1:5: a duration is divided by zero"),
        ("a[5m", "1:5: unexpected end: a `[` is not closed, that of line 1, column 2"),
        ("{", "1:2: unexpected end: a `{` is not closed, that of line 1, column 1"),
        ("a]", "1:2: unexpected `]`: nothing is open that it could close"),
        ("a @ 1e300", "1:1: the time of @ is out of bounds"),
        ("a @ 1 @ 2", "1:1: @ is given twice"),
        ("a offset 1 offset 2", "1:1: offset is given twice"),
        ("(a) offset 1", "1:1: offset can only follow a selector, a range or a subquery"),
        ("a offset 1 [5m]", "1:12: offset and @ stand behind the range"),
        ("(a)[5m]", "1:4: a range can only be that of a selector; [5m:1m] is a subquery"),
        ("a anchored smoothed", "1:1: anchored and smoothed exclude each other"),
        ("(a) anchored", "1:1: anchored can only follow a selector or its range"),
        ("f(a,)", "1:4: unexpected `,`: no argument follows it"),
        ("topk(a)", "1:1: topk takes 2 arguments, and has 1"),
        ("sum(a, b)", "1:1: sum takes 1 argument, and has 2"),
        ("round()", "1:1: round takes 1 to 2 arguments, and has 0"),
        ("label_join(a)", "1:1: label_join takes 3 arguments or more, and has 1"),
        ("rate(a)", "1:6: argument 1 of rate must be a range vector, and is an instant vector"),
        ("sum(a[5m])", "1:5: what is aggregated by sum must be an instant vector, and is a range vector"),
        ("topk(a, a)", "1:6: the first argument of topk must be a scalar, and is an instant vector"),
        ("1[5m:]", "1:1: a subquery is that of an instant vector, not of a scalar"),
        ("-a[5m]", "1:1: a sign cannot stand before a range vector"),
        ("1 and a", "1:1: and is for instant vectors, not for numbers"),
        ("a + on (b) 1", "1:1: on is for two instant vectors"),
        ("a and on (b) group_left b", "1:1: and cannot have group_left"),
        ("a + on (b) group_left (b) c", "1:3: the label b cannot be listed both by on and by group_left"),
        ("a + bool b", "1:3: bool is for comparisons, and + is none"),
        ("{}", "1:1: a selector needs a name, or a matcher that an absent label does not satisfy"),
        ('a{__name__="b"}', "1:1: the metric's name is given twice: a and b"),
        ("quantile(a, 0.5)", "1:13: what is aggregated by quantile, whose parameter comes first, must be"),
        ('a{b="c" d="e"}', "1:9: unexpected `d`; a `,` or the `}` is missing before it"),
        ('a{b="c" == 0', "1:9: unexpected `=`; a `,` or the `}` is missing before it"),
        ("sum by (a (b)", "1:11: unexpected `(`; a `,` or the `)` is missing before it"),
        ('a{b=="c"}', '1:5: unexpected `=`; a matcher is written b="A", or b=~"A|B"'),
        ('a{b in ("c")}', '1:5: unexpected `in`; a matcher is written b="A"'),
        ("a{b=\u201cc\u201d}", "1:5: unexpected character `\u201c`; a text stands in plain quotes"),
        ("a <> 1", "1:4: unexpected `>`; what is not equal is written !="),
        ("a and not b", "1:11: unexpected `b`; what must not be true is written unless"),
        ("a == 0 for 5m", "1:8: unexpected `for`; how long it must be true is a key of the rule"),
        ("a > 1,5", "1:6: unexpected `,`; a number has a point, 1.5"),
        ("a[1 h]", "1:5: unexpected `h`: a duration is written as 5m"),
        ("a > 1 h", "1:7: unexpected `h`; a duration is written without a space: 1h"),
        ("a[5min]", "1:3: `5min` is no number and no duration, such as 1.5, 90s or 1h30m"),
        ("a = b", "1:3: unexpected `=`; a comparison is written ==, >=, <= or !="),
        ("limit_ratio(1, a)", "1:1: limit_ratio is behind a feature flag in Prometheus"),
    ],
)
def test_what_cannot_be_parsed_is_told_with_its_place(text: str, why: str):
    with pytest.raises(ParseError) as error:
        parse(text)

    assert str(error.value).startswith(why)

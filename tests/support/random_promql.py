"""Random expressions of the whole grammar of PromQL, right and wrong ones. They mean nothing: they are only parsed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

BINARY = ("+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "and", "or", "unless", "</", ">/")
NUMBERS = (
    "1",
    "0",
    "5.",
    ".5",
    "1e3",
    "1_000",
    "0x1F",
    "0x_e",
    "0x1e",
    "017",
    "08",
    "Inf",
    "nan",
    "1e400",
    "5m",
    "1h30m",
)
DURATIONS = ("5m", "1h30m", "300", "0", "1.5", "30m1h", "1e12", "5ms", "200y", "400y", "0s")
NAMES = ("up", "a:b", "sum", "start", "step", "offset", "and", "fill", "min_of", "Bool", "ALERTS", "BY", "limitk")
LABELS = ("policy", "participant", "on", "without", '"x y"', '""', "a:b", "by", "bool")
VALUES = ('"a"', "'b'", "`c\\d`", '"\\x41\\n"', '"a("', '"é"', '"\\d"', '""', '".*"')
FUNCTIONS = (
    "abs", "rate", "clamp", "round", "time", "hour", "label_replace", "label_join", "vector", "scalar", "pi", "nothing",
    "predict_linear", "quantile_over_time", "absent", "avg_over_time", "sort_by_label", "end", "max_of", "Abs",
    "histogram_quantile", "timestamp",
)  # fmt: skip
AGGREGATIONS = ("sum", "max", "count", "topk", "quantile", "count_values", "stddev", "SUM", "limit_ratio", "group")
TOKENS = (
    *BINARY, *NUMBERS, *DURATIONS, *NAMES, *LABELS, *VALUES, *FUNCTIONS, *AGGREGATIONS, "(", ")", "{", "}", "[", "]",
    ",", "=", "=~", "!~", "!", "&&", "@", ":", "bool", "on", "ignoring", "group_left", "group_right", "by", "without",
    "anchored", "smoothed", "offset", "fill(1)", "fill_left (-1)", "[5m]", "[5m:1m]", "[5m:]", "@ end()", "#x\n", '"',
    "`", "$", "é", "5m2", "\t", "\n", "range()", "step()", ".", "0x", "1e",
)  # fmt: skip


def expression(random: Random) -> str:
    """Returns an expression that is often right; one in two had tokens added, taken out or replaced."""
    text = _Writer(random).expression(random.choice((1, 2, 2, 3)))
    if random.random() < 0.5:
        return text
    tokens = re.findall(r'"(?:[^"\\]|\\.)*"|[A-Za-z_:][\w:]*|\d[\w.]*|==|!=|>=|<=|=~|!~|\s+|.', text)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        index = random.randrange(len(tokens) + 1)
        added = random.choice(([], [" ", random.choice(TOKENS), " "], [random.choice((*tokens, "1"))]))
        tokens[index : index + random.choice((0, 0, 1, 1, 3))] = added
    if random.random() < 0.1:
        del tokens[random.randrange(len(tokens) + 1) :]
    return "".join(tokens) or "()"


class _Writer:
    def __init__(self, random: Random) -> None:
        self._random = random

    def expression(self, depth: int) -> str:
        make: tuple[Callable[[int], str], ...] = (
            self._selector,
            self._selector,
            self._binary,
            self._binary,
            self._aggregation,
            self._aggregation,
            self._call,
            self._call,
            self._subquery,
            lambda depth: f"({self.expression(depth - 1)})",
            lambda depth: self._random.choice("+-") + self.expression(depth - 1),
            lambda _: self._random.choice(NUMBERS),
            lambda _: self._random.choice(VALUES),
        )
        return self._random.choice(make if depth > 0 else make[:2])(depth)

    def _maybe(self, text: str, probability: float = 0.3) -> str:
        return text if self._random.random() < probability else ""

    def _selector(self, _: int) -> str:
        name = self._random.choice(NAMES)
        matchers = [
            f"{self._random.choice(LABELS)}{self._random.choice(('=', '!=', '=~', '!~'))}{self._random.choice(VALUES)}"
            for _ in range(self._random.choice((0, 0, 1, 2)))
        ]
        if self._random.random() < 0.15:
            name, matchers = "", [*matchers, f'"{name}"', *matchers]
        braces = (
            "{" + ", ".join(matchers) + self._maybe(",", 0.1) + "}" if matchers or self._random.random() < 0.1 else ""
        )
        modes = ("", "", "", "", " anchored", " smoothed")
        return name + braces + self._maybe(f"[{self._duration(1)}]") + self._random.choice(modes) + self._moved()

    def _moved(self) -> str:
        offset = f" offset {self._duration(1)}"
        at = " @ " + self._random.choice(("5", "-5", "start()", "end()", "1e3", "+5m", "Inf", "start", "- - 1"))
        return self._random.choice(("", "", "", "", "", offset, at, offset + at, at + offset, offset + offset))

    def _duration(self, depth: int) -> str:
        if depth <= 0 or self._random.random() < 0.5:
            return self._random.choice(DURATIONS)
        inner = self._duration(depth - 1)
        return self._random.choice(
            (
                f"({inner})", f"-{inner}", f"+({inner})", f"- -{inner}", "step()", "range()", "-step()", f"-({inner})",
                f"{inner} {self._random.choice('+-*/%^')} {self._duration(depth - 1)}", f"({inner}) * 2",
                f"max_of({inner}, step())", f"min_of(5m, {inner})", f"-max_of({inner}, 5m) * 2", f"step() + {inner}",
            )
        )  # fmt: skip

    def _binary(self, depth: int) -> str:
        operator = self._random.choice(BINARY)
        matching = f" {self._random.choice(('on', 'ignoring'))} {self._labels()}"
        group = f" {self._random.choice(('group_left', 'group_right'))} {self._maybe(self._labels(), 0.5)}"
        modifiers = self._maybe(" bool", 0.2) + self._maybe(matching + self._maybe(group, 0.4), 0.4)
        modifiers += self._maybe(" fill(1)", 0.03) + self._maybe(" fill_left(-1) fill_right(2)", 0.02)
        return f"{self.expression(depth - 1)} {operator}{modifiers} {self.expression(depth - 1)}"

    def _labels(self) -> str:
        names = [self._random.choice(LABELS) for _ in range(self._random.choice((0, 1, 1, 2, 3)))]
        return f"({', '.join(names)}{self._maybe(',', 0.05) if names else ''})"

    def _aggregation(self, depth: int) -> str:
        operator = self._random.choice(AGGREGATIONS)
        grouping = f"{self._random.choice(('by', 'without'))} {self._labels()}"
        takes_two = operator in {"topk", "quantile", "limit_ratio", "count_values"}
        count = 2 if takes_two != (self._random.random() < 0.1) else self._random.choice((0, 1, 1, 1, 1))
        arguments = [self.expression(depth - 1) for _ in range(count)]
        if count == 2 and self._random.random() < 0.8:
            arguments[0] = '"n"' if operator == "count_values" else "0.5"
        call = f"({', '.join(arguments)})"
        return self._random.choice(
            (f"{operator} {grouping} {call}", f"{operator}{call} {grouping}", f"{operator}{call}")
        )

    def _call(self, depth: int) -> str:
        count = self._random.choice((0, 1, 1, 1, 2, 3))
        arguments = [self.expression(depth - 1) for _ in range(count)]
        return f"{self._random.choice(FUNCTIONS)}({', '.join(arguments)})" + self._maybe(self._moved(), 0.2)

    def _subquery(self, depth: int) -> str:
        step = self._maybe(self._duration(1), 0.7)
        return f"({self.expression(depth - 1)})[{self._duration(1)}:{step}]" + self._moved()

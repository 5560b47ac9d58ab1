"""Random expressions of the subset, as trees whose text comes from their operands.

Left out: last digits that depend on who computes them, powers among them; limitk, whose choice is anybody's; times
outside the years 1 to 9999, of which our engine says NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

POLICIES = ("A", "B", "C")
PARTICIPANTS = ("11111111", "22222222")

PER_BUCKET = (
    "dict_rate_limit_utilization_percent",
    "dict_rate_limit_available_tokens",
    "dict_rate_limit_capacity",
    "dict_rate_limit_consumption_rate_per_minute",
    "dict_rate_limit_responses_total",
)
PER_PARTICIPANT = ("dict_rate_limit_up", "dict_rate_limit_participant_info", "dict_rate_limit_poll_interval_seconds")

NUMBERS = (
    "0",
    "1",
    "2",
    "-1",
    "3",
    "0.5",
    "1.7",
    "10",
    "75",
    "80",
    "1e3",
    "NaN",
    "Inf",
    "-Inf",
    "-0",
    "1e308",
    "0.1",
    "0x1F",
    "017",
    "08",
    ".5",
    "5.",
    "1e-3",
)
ARITHMETIC = ("+", "-", "*", "/", "%")
EXACT_EXPONENTS = ("0", "-0", "1", "NaN", "Inf", "-Inf")
EXACT_BASES = ("0", "-0", "1", "-1", "NaN", "Inf", "-Inf")
"""Of anything, these powers and these bases' powers are the same to the last digit."""

COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
CLOCK = ("hour", "minute", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year")
LOGARITHMS = ("ln", "log2", "log10")
MATHEMATICS = (
    *LOGARITHMS, "sqrt", "deg", "rad", "sin", "cos", "tan", "asin", "acos", "atan", "tanh", "asinh", "acosh",
    "atanh",
)  # fmt: skip
GROWING = ("exp", "sinh", "cosh")
"""Of large numbers they are too large for their last digits to be left out."""

RANGE_FUNCTIONS = (
    "avg_over_time", "count_over_time", "first_over_time", "last_over_time", "max_over_time", "min_over_time",
    "present_over_time", "quantile_over_time", "stddev_over_time", "stdvar_over_time", "sum_over_time", "changes",
    "resets", "delta", "increase", "rate", "idelta", "irate", "deriv", "predict_linear",
)  # fmt: skip
LENGTHS = (
    "1m",
    "2m",
    "5m",
    "90s",
    "10m",
    "7m30s",
    "300",
    "5m * 2",
    "1m + 30",
    "1h",
    "2m ^ 1",
    "-(-3m)",
    "1500ms",
    "max_of(1m, step())",
    "min_of(2m, 1h) + range()",
    "-min_of(-2m, 5m)",
)
STEPS = ("30s", "1m", "70s", "2m", "45", "5m", "1m / 2", "7s")
OFFSETS = (
    "1m",
    "5m",
    "90s",
    "-1m",
    "10m",
    "-5m",
    "60",
    "(1m * 3)",
    "0s",
    "7s",
    "step()",
    "max_of(1m, 30)",
    "-min_of(1m, 2m)",
)
INSTANTS = ("0", "300", "600", "450.5", "-60", "1e4", "start()", "end()")

TIMES = "((({}) > -6e10) < 2e11)"
"""A filter that leaves out what is no time of the years 1 to 9999."""


@dataclass(frozen=True)
class Tree:
    """``template`` holds ``{}`` for each operand. ``kind``: bucket, participant, plain (no labels) or number."""

    kind: str
    template: str
    operands: tuple[Tree, ...] = ()

    @property
    def text(self) -> str:
        return self.template.format(*(operand.text for operand in self.operands))

    def smaller(self) -> Iterator[Tree]:
        """Yields expressions with one operation less."""
        for operand in self.operands:
            if operand.kind == self.kind:
                yield operand
        for index, operand in enumerate(self.operands):
            for less in operand.smaller():
                yield Tree(self.kind, self.template, (*self.operands[:index], less, *self.operands[index + 1 :]))


class Expressions:
    """Makes expressions. ``alerts`` are the names that matchers of ``ALERTS`` and ``ALERTS_FOR_STATE`` may have.

    ``recorded`` are kind and name of series that rules record. ``alone``: there is one participant only, so that
    operations may find several series in index of one.
    """

    def __init__(
        self, random: Random, alerts: tuple[str, ...], recorded: tuple[tuple[str, str], ...] = (), *, alone: bool
    ) -> None:
        self._random = random
        self._alerts = alerts
        self._recorded = recorded
        self._alone = alone
        self._in_shifted = 0

    def condition(self) -> Tree:
        """Returns something that a rule could watch: true at some times, and not at others."""
        kind = self._random.choice(("bucket", "bucket", "participant"))
        tree = self.vector(kind, self._random.choice((1, 2, 2, 3, 4)))
        if self._random.random() < 0.6:
            tree = Tree(kind, "{} " + self._random.choice(COMPARISONS) + " {}", (self._wrapped(tree), self.number(1)))
        return tree

    def vector(self, kind: str, depth: int) -> Tree:
        if depth <= 0:
            return self._selector(kind)
        make = self._random.choice(
            (
                self._selector,
                self._with_number,
                self._with_number,
                self._with_same_kind,
                self._with_same_kind,
                self._with_other,
                self._set,
                self._set,
                self._with_plain,
                self._aggregated,
                self._aggregated,
                self._called,
                self._called,
                self._signed,
                self._labelled,
                self._chosen,
                self._over_range,
                self._over_range,
                self._absent,
                self._with_scalar,
                self._timestamp,
            )
        )
        return make(kind) if make == self._selector else make(kind, depth)  # type: ignore[operator, call-arg]

    def number(self, depth: int) -> Tree:
        roll = self._random.random()
        if depth <= 0 or roll < 0.6:
            return Tree("number", self._random.choice(NUMBERS))
        if roll < 0.7:
            return Tree("number", self._random.choice(("time()", "pi()")))
        if roll < 0.8:
            return Tree("number", "-({})", (self.number(depth - 1),))
        operator = self._random.choice((*ARITHMETIC, "^", "== bool", "< bool"))
        if operator == "^":
            return self._power("number", self.number(depth - 1))
        template = self._random.choice(("({{}} {} {{}})", "{{}} {} {{}}")).format(operator)
        return Tree("number", template, (self.number(depth - 1), self.number(depth - 1)))

    def _selector(self, kind: str) -> Tree:
        if self._alerts and self._random.random() < 0.2:
            selector = self._alert_selector()
            if self._random.random() < 0.25:
                selector = f"{selector} {self._shift()}"
            if selector.startswith("ALERTS_FOR_STATE") and self._random.random() < 0.7:
                selector = f"(time() - {selector})"
            return Tree(kind, self._without_alert_labels(kind, selector))
        selector = self._gauge(kind)
        if self._random.random() < 0.15:
            modified = self._random.choice(("smoothed", "anchored", self._shift(), self._shift(), self._shift()))
            return Tree(kind, f"{selector.template} {modified}")
        return selector

    def _alert_selector(self) -> str:
        matchers = [f'alertname="{self._random.choice(self._alerts)}"']
        if self._random.random() < 0.7:
            matchers.append(self._random.choice(('alertstate="firing"', 'alertstate="pending"', 'alertstate!=""')))
        metric = self._random.choice(("ALERTS", "ALERTS", "ALERTS_FOR_STATE"))
        return metric + "{{" + ", ".join(matchers) + "}}"

    def _without_alert_labels(self, kind: str, template: str) -> str:
        keys = "participant, policy" if kind == "bucket" else "participant"
        return template if self._alone else f"max by ({keys}) ({template})"

    def _shift(self) -> str:
        """Returns what puts a selector, a range or a subquery at another time, or interpolates."""
        offset = f"offset {self._random.choice(OFFSETS)}"
        if self._in_shifted:  # where Prometheus can lose an `@`
            return offset
        at = f"@ {self._random.choice(INSTANTS)}"
        if "(" in offset:  # which Prometheus, where there is an `@` too, prints so that it cannot read it again
            return offset
        return self._random.choice((offset, offset, at, f"{offset} {at}", f"{at} {offset}"))

    def _over_range(self, kind: str, depth: int) -> Tree:
        """Returns a function of a range or a subquery. What varies in the last digits only is rounded."""
        function = self._random.choice(RANGE_FUNCTIONS)
        if self._alerts and self._random.random() < 0.2:
            over = f"{self._alert_selector()}[{self._random.choice(LENGTHS)}]"
            if self._random.random() < 0.25:
                over = f"{over} {self._shift()}"
            number = {"quantile_over_time": "0.5, ", "predict_linear": ""}.get(function, "")
            after = ", 60" if function == "predict_linear" else ""
            return Tree(kind, self._without_alert_labels(kind, f"{function}({number}{over}{after})"))
        operands: tuple[Tree, ...] = (self._range(kind, depth, function),)
        if function == "quantile_over_time":
            # Prometheus sorts 0 and -0 in any order.
            tree = Tree(kind, "(0 + quantile_over_time({}, {}))", (self.number(1), *operands))
        elif function == "predict_linear":
            tree = Tree(kind, "predict_linear({}, {})", (*operands, self.number(1)))
        else:
            tree = Tree(kind, function + "({})", operands)
        return tree

    def _range(self, kind: str, depth: int, function: str) -> Tree:
        length = self._random.choice(LENGTHS)
        is_shifted = self._random.random() < 0.25
        if self._random.random() < 0.4 and depth > 1:
            step = self._random.choice((*STEPS, "", ""))
            self._in_shifted += is_shifted
            inner = self.vector(kind, depth - 2)
            self._in_shifted -= is_shifted
            made = Tree("range", "({})[" + f"{length}:{step}]", (inner,))
        else:
            mode = ""
            if function in {"rate", "increase", "delta", "changes", "resets"} and self._random.random() < 0.3:
                modes = ("anchored",) if function in {"changes", "resets"} else ("anchored", "smoothed")
                mode = f" {self._random.choice(modes)}"
            made = Tree("range", self._gauge(kind).template + f"[{length}]{mode}")
        if is_shifted:
            made = Tree("range", f"{made.template} {self._shift()}", made.operands)
        return made

    def _pinned(self, kind: str) -> Tree:
        """Returns a selector of one participant, and at times of one policy."""
        participant = self._random.choice((*PARTICIPANTS, "33333333"))
        policy = self._random.choice(("", ', policy="A"', ', policy=~"B|C"', ', policy=""', ', job=~".*"'))
        name = self._random.choice(PER_BUCKET if kind == "bucket" else PER_PARTICIPANT)
        return Tree(kind, f'{name}{{{{participant="{participant}"{policy}}}}}')

    def _absent(self, kind: str, _: int) -> Tree:
        """Returns what is there where something is not."""
        selector = self._pinned(kind)
        if self._random.random() < 0.4:
            shift = f" {self._shift()}" if self._random.random() < 0.2 else ""
            return Tree(kind, f"absent_over_time({selector.template}[{self._random.choice(LENGTHS)}]{shift})")
        return Tree(kind, self._random.choice(("absent({})", "absent(({}))")), (selector,))

    def _with_scalar(self, kind: str, _: int) -> Tree:
        """Returns an operation of a participant's series with a number made of others of the same one."""
        pinned = self._pinned(kind)
        of_one = pinned.template.partition("participant=")[2][:10]
        other = self._random.choice(PER_BUCKET)
        number = Tree("number", f'scalar({other}{{{{participant={of_one}, policy="A"}}}})')
        if self._random.random() < 0.3:
            number = Tree("number", "({} + {})", (number, self.number(0)))
        if self._random.random() < 0.3:
            return Tree(kind, "clamp_max({}, {})", (pinned, number))
        operator = self._random.choice((*ARITHMETIC, *COMPARISONS))
        return Tree(kind, "{} " + operator + " {}", (pinned, number))

    def _timestamp(self, kind: str, depth: int) -> Tree:
        inner = self.vector(kind, depth - 1)
        if "offset" in inner.text and "@" in inner.text:  # of which Prometheus takes one for the other
            return inner
        return Tree(kind, "timestamp({})", (inner,))

    def _gauge(self, kind: str) -> Tree:
        name = self._random.choice(PER_BUCKET if kind == "bucket" else PER_PARTICIPANT)
        recorded = [name for of_kind, name in self._recorded if of_kind == kind]
        if recorded and self._random.random() < 0.4:
            name = self._random.choice(recorded)
        if self._random.random() < 0.65:
            return Tree(kind, name)
        some = [
            'participant="11111111"', 'participant=~"1+|2.*"', 'participant!="22222222"', 'job=~"dict|"', 'nothing=""',
            'instance!~".*:1"', 'policy=~"A|B"', 'policy!="A"', 'policy="C"', 'policy!~"[AB]"', 'psp_category=~"A|"',
        ]  # fmt: skip
        chosen = self._random.sample(some, self._random.choice((1, 1, 2)))
        return Tree(kind, name + "{{" + ",".join(chosen) + "}}")

    def _with_number(self, kind: str, depth: int) -> Tree:
        operator = self._random.choice((*ARITHMETIC, "^", *COMPARISONS, *COMPARISONS))
        if operator == "^":
            return self._power(kind, self.vector(kind, depth - 1))
        if operator in COMPARISONS and self._random.random() < 0.25:
            operator += " bool"
        operands = (self._wrapped(self.vector(kind, depth - 1)), self._wrapped(self.number(1)))
        if self._random.random() < 0.2:
            operands = (operands[1], operands[0])
        return Tree(kind, "{} " + operator + " {}", operands)

    def _with_same_kind(self, kind: str, depth: int) -> Tree:
        keys = "participant, policy" if kind == "bucket" else "participant"
        matches = ["", "", f"on ({keys})", f"on ({keys}, job)", "ignoring (nothing)", "ignoring (job, instance)"]
        matches += ["ignoring (psp_category)", f"on ({keys}) group_left", f"on ({keys}) group_right (job)"]
        if self._alone:
            matches += ["on (participant)", "ignoring (policy) group_left", "on (participant, __name__)"]
        match = self._random.choice(matches)
        operator = self._random.choice((*ARITHMETIC, *COMPARISONS))
        if operator in COMPARISONS and self._random.random() < 0.3:
            operator += " bool"
        return self._two(kind, f"{operator} {match}", self.vector(kind, depth - 1), self.vector(kind, depth - 1))

    def _with_other(self, kind: str, depth: int) -> Tree:
        other = "participant" if kind == "bucket" else "bucket"
        operator = self._random.choice((*ARITHMETIC, *COMPARISONS))
        if operator in COMPARISONS and self._random.random() < 0.3:
            operator += " bool"
        included = self._random.choice(("", "()", "(psp_category)", "(instance)", "(nothing)", "(__name__)"))
        if kind == "bucket":
            one = self.vector(other, depth - 1)
            if self._random.random() < 0.5:
                return self._two(
                    kind, f"{operator} on (participant) group_left {included}", self.vector(kind, depth - 1), one
                )
            return self._two(
                kind, f"{operator} on (participant) group_right {included}", one, self.vector(kind, depth - 1)
            )
        many = Tree(
            other,
            self._random.choice(("sum", "max", "count")) + " by (participant) ({})",
            (self.vector(other, depth - 1),),
        )
        return self._two(kind, f"{operator} on (participant)", self.vector(kind, depth - 1), many)

    def _set(self, kind: str, depth: int) -> Tree:
        operator = self._random.choice(("and", "or", "unless"))
        other = kind if self._random.random() < 0.6 else self._random.choice(("bucket", "participant"))
        match = self._random.choice(("", "on (participant)", "on (participant, policy)", "ignoring (policy)"))
        return self._two(kind, f"{operator} {match}", self.vector(kind, depth - 1), self.vector(other, depth - 1))

    def _with_plain(self, kind: str, depth: int) -> Tree:
        plain = self._random.choice(
            (
                Tree("plain", "vector({})", (self.number(1),)),
                Tree("plain", self._random.choice(CLOCK) + "()"),
                Tree("plain", f"{self._random.choice(CLOCK)}({TIMES.format('vector({})')})", (self.number(1),)),
            )
        )
        if self._random.random() < 0.5:
            plain = Tree("plain", "({} " + self._random.choice(COMPARISONS) + " {})", (plain, self.number(0)))
        operator = self._random.choice(("and on ()", "unless on ()", "+ on () group_left ()", "> on () group_left ()"))
        return self._two(kind, operator, self.vector(kind, depth - 1), plain)

    def _aggregated(self, kind: str, depth: int) -> Tree:
        operator = self._random.choice(("sum", "min", "max", "avg", "count", "group", "stddev", "stdvar"))
        if kind == "bucket":
            how = self._random.choice(
                ("by (participant, policy)", "by (participant, policy, job)", "without (job, instance)", "without ()",
                 "by (participant, policy, __name__)", "without (instance, alertname)")
            )  # fmt: skip
            return _rounded(operator, Tree(kind, f"{operator} {how} ({{}})", (self.vector(kind, depth - 1),)))
        how = self._random.choice(("by (participant)", "by (participant)", "without (policy)"))
        inner = self.vector(self._random.choice(("bucket", "participant")), depth - 1)
        if self._random.random() < 0.3:
            return Tree(kind, f"(0 + quantile {how} ({{}}, {{}}))", (self.number(1), inner))
        template = self._random.choice((f"{operator} {how} ({{}})", f"{operator} ({{}}) {how}"))
        return _rounded(operator, Tree(kind, template, (inner,)))

    def _called(self, kind: str, depth: int) -> Tree:
        inner = self.vector(kind, depth - 1)
        name = self._random.choice(
            (
                "abs",
                "ceil",
                "floor",
                "round",
                "round",
                "sgn",
                "clamp",
                "clamp_min",
                "clamp_max",
                *CLOCK[:2],
                "mathematics",
                "mathematics",
                "sort",
                "sort_desc",
            )
        )
        if name == "clamp":
            return Tree(kind, "clamp({}, {}, {})", (inner, self.number(1), self.number(1)))
        if name in {"clamp_min", "clamp_max"} or (name == "round" and self._random.random() < 0.6):
            return Tree(kind, name + "({}, {})", (inner, self.number(1)))
        if name in CLOCK:
            return Tree(kind, f"{name}({TIMES})", (inner,))
        if name == "mathematics":
            return self._mathematics(kind, inner)
        return Tree(kind, name + "({})", (inner,))

    def _mathematics(self, kind: str, inner: Tree) -> Tree:
        roll = self._random.random()
        if roll < 0.2:
            return Tree(kind, "round({} atan2 {}, 0.001)", (self._wrapped(inner), self._wrapped(self.number(1))))
        if roll < 0.35:
            return Tree(kind, f"round({self._random.choice(GROWING)}(clamp({{}}, -20, 20)), 0.001)", (inner,))
        function = self._random.choice(MATHEMATICS)
        if function in LOGARITHMS:  # of subnormal numbers Go's are wrong on amd64
            return Tree(kind, f"round({function}(({{}}) * 1e50), 0.001)", (inner,))
        return Tree(kind, f"round({function}({{}}), 0.001)", (inner,))

    def _labelled(self, kind: str, depth: int) -> Tree:
        """Returns an expression with a label more, or with one changed."""
        written = (
            '"zone", "$1", "policy", "(.)"', '"zone", "${{1}}x", "participant", "(.)(?P<rest>.*)"',
            '"zone", "", "zone", ".*"', '"instance", "a$$b", "instance", "(.*):1"', '"zone", "z", "no", ""',
            '"job", "$rest", "instance", "(?P<rest>.).*"',
        )  # fmt: skip
        joined = ('("zone"), "-", "policy", "instance"', '"zone", ""', '"job", "/", "job", "nothing", "__name__"')
        template = self._random.choice(
            (
                f"label_replace({{}}, {self._random.choice(written)})",
                f"label_join({{}}, {self._random.choice(joined)})",
                'count_values without (job) ("value", {})',
            )
        )
        return Tree(kind, template, (self.vector(kind, depth - 1),))

    def _chosen(self, kind: str, depth: int) -> Tree:
        """Returns the largest or smallest, of which only the value is told: of several equal ones, any can be it."""
        choice, count = self._random.choice(("topk", "bottomk")), self._random.choice(("1", "2.5", "0", "1e3", "{}"))
        operands = (self.number(1),) if count == "{}" else ()
        inner = self.vector("bucket", depth - 1)
        if kind == "bucket":
            return Tree(kind, f"{choice} by (participant) (1e6, {{}})", (inner,))
        return Tree(kind, f"sum by (participant) (sgn({choice} by (participant) ({count}, {{}})))", (*operands, inner))

    def _power(self, kind: str, operand: Tree) -> Tree:
        """Returns a power of the operand, or one that has it for its exponent."""
        bracketed = Tree(kind, "({})", (operand,))
        if self._random.random() < 0.7:
            return Tree(kind, "{} ^ {}", (bracketed, Tree("number", self._random.choice(EXACT_EXPONENTS))))
        return Tree(kind, "({}) ^ {}", (Tree("number", self._random.choice(EXACT_BASES)), bracketed))

    def _signed(self, kind: str, depth: int) -> Tree:
        return Tree(kind, self._random.choice(("-{}", "-({})", "+{}", "({})")), (self.vector(kind, depth - 1),))

    def _two(self, kind: str, operator: str, left: Tree, right: Tree) -> Tree:
        return Tree(kind, "{} " + operator + " {}", (self._wrapped(left), self._wrapped(right)))

    def _wrapped(self, tree: Tree) -> Tree:
        """Returns it in parentheses, mostly: without them, precedence is part of the test."""
        return Tree(tree.kind, "({})", (tree,)) if tree.operands and self._random.random() < 0.75 else tree


def _rounded(operator: str, tree: Tree) -> Tree:
    """Prometheus adds up in the order in which it reads series, which is random: the last digits are left out."""
    return Tree(tree.kind, "round({}, 0.001)", (tree,)) if operator in {"sum", "avg", "stddev", "stdvar"} else tree

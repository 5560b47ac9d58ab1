"""The syntax tree of PromQL. Each node knows where it stands in the expression's text, and the type of its value.

Nodes are equal where they mean the same, wherever they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from exporter.rules.golang import full_match, quote
from exporter.rules.promql.series import BY_ALL_LABELS, METRIC_NAME, Grouping, grouping, label_text
from exporter.rules.promql.signatures import SIGNATURES, ValueType

COMPARISONS: Final = frozenset({"==", "!=", ">", "<", ">=", "<="})
SET_OPERATORS: Final = frozenset({"and", "or", "unless"})


class Span(NamedTuple):
    """The characters of an expression's text from ``begin`` up to ``end``, which is the first one after them."""

    begin: int
    end: int

    def to(self, other: Span) -> Span:
        return Span(self.begin, other.end)


@dataclass(frozen=True, slots=True)
class _Placed:
    span: Span = field(compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class _Node(_Placed):
    @property
    def operands(self) -> tuple[Tree, ...]:
        """The direct sub-expressions."""
        return ()


@dataclass(frozen=True, slots=True)
class Number(_Node):
    """A number; a duration is its seconds."""

    value: float

    @property
    def type(self) -> ValueType:
        return ValueType.SCALAR


@dataclass(frozen=True, slots=True)
class Text(_Node):
    value: str

    @property
    def type(self) -> ValueType:
        return ValueType.STRING


@dataclass(frozen=True, slots=True)
class DurationOperation(_Placed):
    """A duration that is computed where it is used. ``left`` is missing where ``operator`` is a sign.

    ``step`` and ``range`` have no operands.
    """

    operator: Literal["+", "-", "*", "/", "%", "^", "step", "range", "min_of", "max_of"]
    left: Duration | None = None
    right: Duration | None = None


Duration: TypeAlias = "Number | DurationOperation"
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Matcher(_Placed):
    """One condition on a label."""

    label: str
    operator: Literal["=", "!=", "=~", "!~"]
    value: str

    def __str__(self) -> str:
        return f"{label_text(self.label)}{self.operator}{quote(self.value)}"

    def predicate(self) -> Callable[[str], bool]:
        """Raises ValueError where its regular expression is not one for Go."""
        pattern = self.value
        if self.operator == "=":
            return lambda value: value == pattern
        if self.operator == "!=":
            return lambda value: value != pattern
        matches = full_match(pattern)
        return matches if self.operator == "=~" else lambda value: not matches(value)


@dataclass(frozen=True, slots=True)
class At(_Placed):
    """The instant that ``@`` fixes: Unix seconds, or (None) the ``start`` or ``end`` of what is evaluated."""

    seconds: float | None
    word: Literal["start", "end"] | None = None


@dataclass(frozen=True, slots=True)
class Selector(_Node):
    """``name`` is that before the braces, empty where there is none; ``{"name"}`` is a matcher on ``__name__``."""

    name: str
    matchers: tuple[Matcher, ...]
    offset: Duration | None = None
    at: At | None = None
    mode: Literal["anchored", "smoothed"] | None = None

    @property
    def type(self) -> ValueType:
        return ValueType.VECTOR

    @property
    def metric(self) -> str:
        """The metric that it names; empty where it names none."""
        names = (m.value for m in self.matchers if m.label == METRIC_NAME and m.operator == "=")
        return self.name or next(names, "")

    @property
    def conditions(self) -> tuple[Matcher, ...]:
        """The matchers but for those on the metric's name."""
        return tuple(matcher for matcher in self.matchers if matcher.label != METRIC_NAME)


@dataclass(frozen=True, slots=True)
class Range(_Node):
    """A range selector. Its selector has its ``offset`` and ``@``."""

    selector: Selector
    range: Duration

    @property
    def operands(self) -> tuple[Tree, ...]:
        return (self.selector,)

    @property
    def type(self) -> ValueType:
        return ValueType.RANGE


@dataclass(frozen=True, slots=True)
class Subquery(_Node):
    """``step`` None: that of Prometheus' configuration."""

    expression: Tree
    range: Duration
    step: Duration | None
    offset: Duration | None = None
    at: At | None = None

    @property
    def operands(self) -> tuple[Tree, ...]:
        return (self.expression,)

    @property
    def type(self) -> ValueType:
        return ValueType.RANGE


@dataclass(frozen=True, slots=True)
class Call(_Node):
    function: str
    arguments: tuple[Tree, ...]

    @property
    def operands(self) -> tuple[Tree, ...]:
        return self.arguments

    @property
    def type(self) -> ValueType:
        return SIGNATURES[self.function].returns


@dataclass(frozen=True, slots=True)
class LabelList:
    """Labels as they are written behind ``by``, ``without``, ``on`` or ``ignoring``."""

    word: Literal["by", "without", "on", "ignoring"]
    names: tuple[str, ...]

    @property
    def grouping(self) -> Grouping:
        return grouping(frozenset(self.names), keep=self.word in {"by", "on"})

    def __str__(self) -> str:
        return f"{self.word} ({', '.join(self.names)})"


@dataclass(frozen=True, slots=True)
class Aggregation(_Node):
    """``parameter`` is the first argument of those that take two, as ``topk``."""

    operator: str
    expression: Tree
    parameter: Tree | None
    labels: LabelList | None

    @property
    def operands(self) -> tuple[Tree, ...]:
        return (self.expression,) if self.parameter is None else (self.parameter, self.expression)

    @property
    def type(self) -> ValueType:
        return ValueType.VECTOR

    @property
    def onto(self) -> Grouping:
        """The labels that it keeps."""
        return self.labels.grouping if self.labels is not None else grouping(frozenset(), keep=True)


@dataclass(frozen=True, slots=True)
class Unary(_Node):
    """A sign before what is no number; ``-1`` is a number."""

    operator: Literal["+", "-"]
    operand: Tree

    @property
    def operands(self) -> tuple[Tree, ...]:
        return (self.operand,)

    @property
    def type(self) -> ValueType:
        return self.operand.type


@dataclass(frozen=True, slots=True)
class Paren(_Node):
    expression: Tree

    @property
    def operands(self) -> tuple[Tree, ...]:
        return (self.expression,)

    @property
    def type(self) -> ValueType:
        return self.expression.type


@dataclass(frozen=True, slots=True)
class Binary(_Node):
    """``many`` is the side of ``group_left`` or ``group_right``, ``include`` are the labels that these list."""

    operator: str
    left: Tree
    right: Tree
    as_bool: bool = False
    labels: LabelList | None = None
    many: Literal["left", "right"] | None = None
    include: tuple[str, ...] = ()
    type: ValueType = field(init=False, compare=False)

    def __post_init__(self) -> None:
        # Once: that of a long expression would be found again and again.
        is_number = self.left.type is self.right.type is ValueType.SCALAR
        object.__setattr__(self, "type", ValueType.SCALAR if is_number else ValueType.VECTOR)

    @property
    def operands(self) -> tuple[Tree, ...]:
        return (self.left, self.right)

    @property
    def on(self) -> Grouping:
        """The labels by which the series of its sides match."""
        return self.labels.grouping if self.labels is not None else BY_ALL_LABELS

    @property
    def filters(self) -> bool:
        """Whether it is a comparison that keeps the series of which it is true."""
        return self.operator in COMPARISONS and not self.as_bool


Tree: TypeAlias = "Number | Text | Selector | Range | Subquery | Call | Aggregation | Unary | Paren | Binary"


def walk(node: Tree) -> Iterator[Tree]:
    """Yields an expression and all its sub-expressions, in the order in which they are written."""
    pending = [node]
    while pending:
        node = pending.pop()
        yield node
        pending += reversed(node.operands)


def without_parens(node: Tree) -> Tree:
    while isinstance(node, Paren):
        node = node.expression
    return node

"""Labels and annotations with templates: parsed once, as far as rules may use them, and expanded for each sample."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from exporter.numbers import counted
from exporter.rules.templates.functions import FUNCTIONS, NEEDS_PROMETHEUS, UNSUPPORTED, Function
from exporter.rules.templates.lexer import TemplateRefused, Token, constant, split
from exporter.rules.templates.values import NOTHING_EXTERNAL, External, Value, format_value, unsupported_directive
from exporter.structures import did_you_mean

MOST_COMMANDS: Final = 50
"""Of one action, those in parentheses among them: each waits for the one before it, or within it."""

MOST_NESTED: Final = 50
"""How deep ``if`` may be nested, an ``else if`` among them."""

_REFUSED_KEYWORDS: Final = frozenset({"range", "with", "define", "block", "template", "break", "continue"})
_LABELS: Final = re.compile(
    r"(?:\$labels|\$?\.Labels|(?P<external>\$externalLabels|\$?\.ExternalLabels))(?:\.(?P<label>\w+))?"
)
_VALUE: Final = frozenset({"$value", ".Value", "$.Value"})
_EXTERNAL_URL: Final = frozenset({"$externalURL", ".ExternalURL", "$.ExternalURL"})


class ExpansionFailed(Exception):
    """A template failed for a sample: the function that did, and why."""


class Sample(NamedTuple):
    labels: Mapping[str, str]
    value: float
    external: External
    taken: set[tuple[int, bool]] | None = None
    """Takes which conditions are true and false."""


@dataclass(frozen=True, slots=True)
class Expression:
    """``source`` is how it is written; ``literal`` is the value of a constant."""

    source: str
    evaluate: Callable[[Sample], Value]
    literal: Value | None = None


Expand: TypeAlias = "Callable[[Sample], str]"
"""Gives the text of a part of a template. Raises ExpansionFailed."""


class Template:
    """A text with actions. Raises TemplateRefused where it is not one that rules may use.

    ``labels`` are the names of the sample's labels that it reads, ``uses_value``
    whether it reads the value; ``conditions`` are its ``if``, as they are written.
    """

    __slots__ = ("_expand", "conditions", "is_constant", "labels", "text", "uses_value")

    def __init__(self, text: str) -> None:
        parser = _Parser(text)
        self.text = text
        self._expand, keyword = parser.block()
        if keyword:
            raise TemplateRefused(f"unexpected {{{{{keyword}}}}}")
        self.is_constant = "{{" not in text
        self.uses_value = parser.uses_value
        self.labels = frozenset(parser.labels)
        self.conditions = tuple(parser.conditions)

    def expand(self, labels: Mapping[str, str], value: float, external: External = NOTHING_EXTERNAL) -> str:
        """Returns the text for a sample; where a function fails, the text says which and why."""
        if self.is_constant:
            return self.text
        try:
            return self._expand(Sample(labels, value, external))
        except ExpansionFailed as failure:
            return f"<error expanding template: {failure}>"

    def taken(self, labels: Mapping[str, str], value: float, external: External) -> set[tuple[int, bool]]:
        """Returns which of the conditions, by their index, were true and false for a sample."""
        taken: set[tuple[int, bool]] = set()
        with suppress(ExpansionFailed):
            self._expand(Sample(labels, value, external, taken))
        return taken


class _Parser:
    """Reads a template's actions one after the other, each by its tokens."""

    def __init__(self, template: str) -> None:
        self.labels: set[str] = set()
        self.conditions: list[str] = []
        self.uses_value = False
        self._chunks = split(template)
        self._tokens: deque[Token] = deque()
        self._commands = 0

    def block(self, depth: int = 0) -> tuple[Expand, str]:
        """Returns what stands before ``end`` or ``else``, and which."""
        parts: list[str | Expand] = []

        def expand(sample: Sample) -> str:
            return "".join([part if isinstance(part, str) else part(sample) for part in parts])

        for chunk in self._chunks:
            if isinstance(chunk, str):
                parts.append(chunk)
                continue
            self._tokens, self._commands = deque(chunk), 0
            keyword = self._tokens[0].text
            if keyword in {"end", "else"}:
                return expand, keyword
            if keyword in _REFUSED_KEYWORDS:
                raise TemplateRefused(f"`{{{{{keyword} ...}}}}`: {keyword} is not supported")
            if keyword == "if":
                self._tokens.popleft()
                parts.append(self._if(depth + 1))
            else:
                parts.append(_printed(self._to_end("command")))
        return expand, ""

    def _if(self, depth: int) -> Expand:
        """The token ``if`` was just taken."""
        if depth > MOST_NESTED:
            raise TemplateRefused(f"more than {MOST_NESTED} {{{{if}}}} within one another are not supported")
        number = len(self.conditions)
        self.conditions.append(" ".join(["if", *(token.text for token in self._tokens)]).rstrip())
        condition = self._to_end("if")
        then, keyword = self.block(depth)
        otherwise: Expand = _nothing
        if keyword == "else":
            self._tokens.popleft()
            if self._tokens[0].text == "if":
                self._tokens.popleft()
                return _choice(number, condition, then, self._if(depth + 1))
            self._expect_end("else")
            otherwise, keyword = self.block(depth)
            if keyword == "else":
                raise TemplateRefused("expected end; found {{else}}")
        if keyword != "end":
            raise TemplateRefused("an {{if}} has no {{end}}")
        self._tokens.popleft()
        self._expect_end("end")
        return _choice(number, condition, then, otherwise)

    def _to_end(self, context: str) -> Expression:
        pipeline = self._pipeline(context)
        self._expect_end(context)
        return pipeline

    def _expect_end(self, context: str) -> None:
        token = self._tokens[0]
        if token.kind != "end":
            raise TemplateRefused(f"unexpected `{token.text}` in {context}")

    def _pipeline(self, context: str) -> Expression:
        result = self._command(context, None)
        while self._tokens[0].text == "|":
            self._tokens.popleft()
            result = self._command(context, result)
        return result

    def _command(self, context: str, piped: Expression | None) -> Expression:
        self._commands += 1
        if self._commands > MOST_COMMANDS:
            raise TemplateRefused(f"more than {MOST_COMMANDS} commands in one {{{{}}}} are not supported")
        first = self._tokens[0]
        if first.kind == "name" and first.text not in {"true", "false"}:
            self._take_operand()
            arguments = self._operands()
            return _call(first.text, arguments if piped is None else [*arguments, piped])
        operands = self._operands()
        if not operands:
            raise TemplateRefused(f"missing value for {context}")
        if len(operands) > 1 or piped is not None:
            raise TemplateRefused(f"can't give argument to non-function `{operands[0].source}`")
        return operands[0]

    def _operands(self) -> list[Expression]:
        operands: list[Expression] = []
        while self._tokens[0].text not in {"", "|", ")"}:
            operands.append(self._operand())
        return operands

    def _operand(self) -> Expression:
        if self._tokens[0].text == "(":
            self._tokens.popleft()
            pipeline = self._pipeline("parenthesized pipeline")
            if self._tokens[0].text != ")":
                raise TemplateRefused("unclosed left paren")
            self._take_operand()
            return pipeline
        token = self._take_operand()
        if token.kind in {"string", "raw", "number"} or token.text in {"true", "false"}:
            value = constant(token)
            return Expression(token.text, lambda _: value, value)
        if token.kind == "reference":
            return self._reference(token.text)
        if token.text in FUNCTIONS:
            raise TemplateRefused(f"`{token.text}`: a function as an argument needs parentheses")
        raise TemplateRefused(f"`{token.text}` is not supported")

    def _take_operand(self) -> Token:
        """Takes the last token of an operand; a space, or what ends a command, must follow."""
        token, following = self._tokens.popleft(), self._tokens[0].text
        if not token.before_space and following not in {"", "|", ")"}:
            raise TemplateRefused(f"unexpected `{following}` in operand")
        return token

    def _reference(self, text: str) -> Expression:
        if text in _VALUE:
            self.uses_value = True
            return Expression(text, lambda sample: sample.value)
        if text in _EXTERNAL_URL:
            return Expression(text, lambda sample: sample.external.url)
        match = _LABELS.fullmatch(text)
        if match is None:
            supported = "$labels, $value, $externalLabels and $externalURL"
            if not text.startswith("$"):
                supported = ".Labels, .Value, .ExternalLabels and .ExternalURL"
            raise TemplateRefused(f"`{text}` is not supported: a rule knows {supported}")
        label = match["label"]
        if match["external"]:
            if label is None:
                return Expression(text, lambda sample: dict(sample.external.labels))
            return Expression(text, lambda sample: sample.external.labels.get(label, ""))
        if label is None:
            return Expression(text, lambda sample: dict(sample.labels))
        self.labels.add(label)
        return Expression(text, lambda sample: sample.labels.get(label, ""))


def _nothing(_: Sample) -> str:
    return ""


def _printed(expression: Expression) -> Expand:
    evaluate = expression.evaluate
    return lambda sample: format_value(evaluate(sample))


def _choice(number: int, condition: Expression, then: Expand, otherwise: Expand) -> Expand:
    def expand(sample: Sample) -> str:
        is_true = bool(condition.evaluate(sample))
        if sample.taken is not None:
            sample.taken.add((number, is_true))
        return then(sample) if is_true else otherwise(sample)

    return expand


def _call(name: str, arguments: Sequence[Expression]) -> Expression:
    function = FUNCTIONS.get(name)
    if function is None:
        raise TemplateRefused(_why_no_function(name))
    _check_arguments(name, function, arguments)

    def evaluate(sample: Sample) -> Value:
        try:
            return function.call(argument.evaluate(sample) for argument in arguments)
        except ValueError as error:
            raise ExpansionFailed(f"{name}: {error}") from None

    return Expression(name, evaluate)


def _why_no_function(name: str) -> str:
    if name in NEEDS_PROMETHEUS:
        return f"`{name}` is answered by Prometheus alone, and is not supported"
    if name in UNSUPPORTED:
        return f"`{name}` is a function of Prometheus' templates that is not supported here"
    if name == "nil":
        return "`nil` is not supported"
    return f"`{name}` is not a function of templates{did_you_mean(name, FUNCTIONS)}"


def _check_arguments(name: str, function: Function, arguments: Sequence[Expression]) -> None:
    count = len(arguments)
    if count < function.parameters or (count > function.parameters and not function.variadic):
        least = "at least " if function.variadic else ""
        raise TemplateRefused(f"{name} takes {least}{counted(function.parameters, 'argument')}, not {count}")
    for argument in arguments[: function.texts]:
        if argument.literal is not None and not isinstance(argument.literal, str):
            raise TemplateRefused(f"{name} takes text, not {argument.source}")
    if name == "printf" and arguments[0].literal is None:
        raise TemplateRefused("the format of printf must be written out")
    if name == "printf" and (directive := unsupported_directive(str(arguments[0].literal))):
        raise TemplateRefused(f"`{directive}` is not supported in a format")

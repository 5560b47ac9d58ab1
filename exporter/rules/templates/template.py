"""Labels and annotations with templates: parsed once, as far as rules may use them, and expanded for each sample."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from exporter.numbers import counted
from exporter.rules.promql.unsupported import nearest
from exporter.rules.templates.functions import FUNCTIONS, NEEDS_PROMETHEUS, UNSUPPORTED, Function
from exporter.rules.templates.lexer import TemplateRefused, Token, constant, split
from exporter.rules.templates.nodes import (
    Call,
    ExpansionFailed,
    Expression,
    If,
    Literal,
    Node,
    Reference,
    Sample,
    expand,
)
from exporter.rules.templates.values import unsupported_directive

MOST_COMMANDS: Final = 50
"""Of one action, those in parentheses among them: each waits for the one before it, or within it."""

MOST_NESTED: Final = 50
"""How deep ``if`` may be nested, an ``else if`` among them."""

_REFUSED_KEYWORDS: Final = frozenset({"range", "with", "define", "block", "template", "break", "continue"})
_LABELS: Final = re.compile(r"(?:\$labels|\$?\.Labels)(?:\.(?P<label>\w+))?")


class Template:
    """A text with actions. Raises TemplateRefused where it is not one that rules may use.

    ``labels`` are the names of the sample's labels that it reads, ``uses_value``
    whether it reads the value.
    """

    __slots__ = ("_nodes", "is_constant", "labels", "text", "uses_value")

    def __init__(self, text: str) -> None:
        self.text = text
        self._nodes, references = parse(text)
        self.is_constant = "{{" not in text
        self.uses_value = any(reference.is_value for reference in references)
        self.labels = frozenset(reference.label for reference in references if reference.label is not None)

    def expand(self, labels: Mapping[str, str], value: float) -> str:
        """Returns the text for a sample; where a function fails, the text says which and why."""
        if self.is_constant:
            return self.text
        try:
            return expand(self._nodes, Sample(labels, value))
        except ExpansionFailed as failure:
            return f"<error expanding template: {failure}>"


def parse(template: str) -> tuple[tuple[Node, ...], list[Reference]]:
    """Returns the nodes of a template, and all its references. Raises TemplateRefused."""
    parser = _Parser(template)
    nodes, keyword = parser.nodes()
    if keyword:
        raise TemplateRefused(f"unexpected {{{{{keyword}}}}}")
    return nodes, parser.references


class _Parser:
    """Reads a template's actions one after the other, each by its tokens."""

    def __init__(self, template: str) -> None:
        self._chunks = split(template)
        self._tokens: list[Token] = []
        self._index = 0
        self._commands = 0
        self.references: list[Reference] = []

    def nodes(self, depth: int = 0) -> tuple[tuple[Node, ...], str]:
        """Returns the nodes up to ``end`` or ``else``, and which."""
        nodes: list[Node] = []
        for chunk in self._chunks:
            if isinstance(chunk, str):
                nodes.append(chunk)
                continue
            self._tokens, self._index, self._commands = chunk, 0, 0
            first = self._peek()
            keyword = first.text if first.kind == "name" else ""
            if keyword in {"end", "else"}:
                return tuple(nodes), keyword
            if keyword in _REFUSED_KEYWORDS:
                raise TemplateRefused(f"`{{{{{keyword} ...}}}}`: {keyword} is not supported")
            if keyword == "if":
                self._take()
                nodes.append(self._if(depth + 1))
            else:
                nodes.append(self._to_end("command"))
        return tuple(nodes), ""

    def _if(self, depth: int) -> If:
        """The token ``if`` was just taken."""
        if depth > MOST_NESTED:
            raise TemplateRefused(f"more than {MOST_NESTED} {{{{if}}}} within one another are not supported")
        condition = self._to_end("if")
        then, keyword = self.nodes(depth)
        otherwise: tuple[Node, ...] = ()
        if keyword == "else":
            self._take()
            if self._peek() == Token("name", "if"):
                self._take()
                return If(condition, then, (self._if(depth + 1),))
            self._expect_end("else")
            otherwise, keyword = self.nodes(depth)
            if keyword == "else":
                raise TemplateRefused("expected end; found {{else}}")
        if keyword != "end":
            raise TemplateRefused("an {{if}} has no {{end}}")
        self._take()
        self._expect_end("end")
        return If(condition, then, otherwise)

    def _to_end(self, context: str) -> Expression:
        pipeline = self._pipeline(context)
        self._expect_end(context)
        return pipeline

    def _expect_end(self, context: str) -> None:
        token = self._peek()
        if token.kind != "end":
            raise TemplateRefused(f"unexpected `{token.text}` in {context}")

    def _pipeline(self, context: str) -> Expression:
        result = self._command(context, None)
        while self._peek().text == "|":
            self._take()
            result = self._command(context, result)
        return result

    def _command(self, context: str, piped: Expression | None) -> Expression:
        self._commands += 1
        if self._commands > MOST_COMMANDS:
            raise TemplateRefused(f"more than {MOST_COMMANDS} commands in one {{{{}}}} are not supported")
        first = self._peek()
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
        while (token := self._peek()).kind != "end" and token.text not in {"|", ")"}:
            operands.append(self._operand())
        return operands

    def _operand(self) -> Expression:
        token = self._peek()
        if token.text == "(":
            self._take()
            pipeline = self._pipeline("parenthesized pipeline")
            if self._peek().text != ")":
                raise TemplateRefused("unclosed left paren")
            self._take_operand()
            return pipeline
        self._take_operand()
        if token.kind in {"string", "raw", "number"}:
            return Literal(token.text, constant(token))
        if token.kind == "reference":
            self.references.append(_reference(token.text))
            return self.references[-1]
        if token.text in {"true", "false"}:
            return Literal(token.text, token.text == "true")
        if token.text in FUNCTIONS:
            raise TemplateRefused(f"`{token.text}`: a function as an argument needs parentheses")
        raise TemplateRefused(f"`{token.text}` is not supported")

    def _peek(self) -> Token:
        """Returns the next token that is no space."""
        if self._tokens[self._index].kind == "space":
            self._index += 1
        return self._tokens[self._index]

    def _take(self) -> None:
        self._peek()
        self._index += 1

    def _take_operand(self) -> None:
        """Takes the last token of an operand; a space, or what ends a command, must follow."""
        self._take()
        following = self._tokens[self._index]
        if following.kind not in {"space", "end"} and following.text not in {"|", ")"}:
            raise TemplateRefused(f"unexpected `{following.text}` in operand")


def _reference(text: str) -> Reference:
    if text in {"$value", ".Value", "$.Value"}:
        return Reference(text, is_value=True)
    labels = _LABELS.fullmatch(text)
    if labels is None:
        supported = "$labels and $value" if text.startswith("$") else ".Labels and .Value"
        raise TemplateRefused(f"`{text}` is not supported: a rule knows {supported}")
    return Reference(text, labels["label"])


def _call(name: str, arguments: Sequence[Expression]) -> Call:
    function = FUNCTIONS.get(name)
    if function is None:
        raise TemplateRefused(_why_no_function(name))
    _check_arguments(name, function, arguments)
    return Call(name, function, tuple(arguments))


def _why_no_function(name: str) -> str:
    if name in NEEDS_PROMETHEUS:
        return f"`{name}` is answered by Prometheus alone, and is not supported"
    if name in UNSUPPORTED:
        return f"`{name}` is a function of Prometheus' templates that is not supported here"
    if name == "nil":
        return "`nil` is not supported"
    return f"`{name}` is not a function of templates{nearest(name, FUNCTIONS)}"


def _check_arguments(name: str, function: Function, arguments: Sequence[Expression]) -> None:
    count = len(arguments)
    if count < function.parameters or (count > function.parameters and not function.variadic):
        least = "at least " if function.variadic else ""
        raise TemplateRefused(f"{name} takes {least}{counted(function.parameters, 'argument')}, not {count}")
    for argument in arguments[: function.texts]:
        if isinstance(argument, Literal) and not isinstance(argument.value, str):
            raise TemplateRefused(f"{name} takes text, not {argument.source}")
    if name != "printf":
        return
    template = arguments[0]
    if not isinstance(template, Literal):
        raise TemplateRefused("the format of printf must be written out")
    if directive := unsupported_directive(str(template.value)):
        raise TemplateRefused(f"`{directive}` is not supported in a format")

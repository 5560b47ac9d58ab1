"""Labels and annotations with templates: parsed once, as far as rules may use them, and expanded for each sample."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from exporter.rules.templates.expressions import Expand, ExpansionFailed, Expression, Sample, call, reference
from exporter.rules.templates.functions import FUNCTIONS
from exporter.rules.templates.lexer import TemplateRefused, Token, constant, split
from exporter.rules.templates.values import NOTHING_EXTERNAL, External, format_value

MOST_COMMANDS: Final = 50
"""Of one action, those in parentheses among them: each waits for the one before it, or within it."""

MOST_NESTED: Final = 50
"""How deep ``if`` and ``with`` may be nested, an ``else if`` among them."""

_REFUSED_KEYWORDS: Final = frozenset({"range", "define", "block", "template", "break", "continue"})
_CONTROLS: Final = frozenset({"if", "with"})


class Template:
    """A text with actions. Raises TemplateRefused where it is not one that rules may use.

    ``labels`` are the names of the sample's labels that it reads, ``uses_value``
    whether it reads the value; ``conditions`` are its ``if`` and ``with``, as they are written.
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
        self._dot: Expression | None = None
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
            if keyword in _CONTROLS:
                self._tokens.popleft()
                parts.append(self._control(keyword, depth + 1))
            else:
                parts.append(_printed(self._to_end("command")))
        return expand, ""

    def _control(self, control: str, depth: int) -> Expand:
        """The token ``if`` or ``with`` was just taken."""
        if depth > MOST_NESTED:
            raise TemplateRefused(f"more than {MOST_NESTED} {{{{{control}}}}} within one another are not supported")
        choose = partial(_choice, len(self.conditions), is_with=control == "with")
        self.conditions.append(" ".join([control, *(token.text for token in self._tokens)]).rstrip())
        condition = self._to_end(control)
        outside = self._dot
        self._dot = condition if control == "with" else outside
        then, keyword = self.block(depth)
        self._dot = outside
        otherwise: Expand = _nothing
        if keyword == "else":
            self._tokens.popleft()
            if self._tokens[0].text == control:
                self._tokens.popleft()
                return choose(condition, then, self._control(control, depth + 1))
            self._expect_end("else")
            otherwise, keyword = self.block(depth)
            if keyword == "else":
                raise TemplateRefused("expected end; found {{else}}")
        if keyword != "end":
            raise TemplateRefused(f"{{{{{control}}}}} has no {{{{end}}}}")
        self._tokens.popleft()
        self._expect_end("end")
        return choose(condition, then, otherwise)

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
            return call(first.text, arguments if piped is None else [*arguments, piped])
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
            operand = reference(token.text, self._dot)
            self.uses_value = self.uses_value or operand.is_value
            if operand.label is not None:
                self.labels.add(operand.label)
            return operand
        if token.text in FUNCTIONS:
            raise TemplateRefused(f"`{token.text}`: a function as an argument needs parentheses")
        raise TemplateRefused(f"`{token.text}` is not supported")

    def _take_operand(self) -> Token:
        """Takes the last token of an operand; a space, or what ends a command, must follow."""
        token, following = self._tokens.popleft(), self._tokens[0].text
        if not token.before_space and following not in {"", "|", ")"}:
            raise TemplateRefused(f"unexpected `{following}` in operand")
        return token


def _nothing(_: Sample) -> str:
    return ""


def _printed(expression: Expression) -> Expand:
    evaluate = expression.evaluate
    return lambda sample: format_value(evaluate(sample))


def _choice(number: int, condition: Expression, then: Expand, otherwise: Expand, *, is_with: bool) -> Expand:
    def expand(sample: Sample) -> str:
        value = condition.evaluate(sample)
        if sample.taken is not None:
            sample.taken.add((number, bool(value)))
        if not value:
            return otherwise(sample)
        return then(sample._replace(dot=value) if is_with else sample)

    return expand

"""Go's template syntax, second half: the parts of a template, as far as rules may use them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from exporter.rules.templates.lexer import Action, TemplateRefused, Word, constant, split, words


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: text, number or truth value. ``source`` is how it is written."""

    position: int
    source: str
    value: str | float | int | bool


@dataclass(frozen=True, slots=True)
class Reference:
    """``$labels.x``, ``$value``, ``.Labels.x``, ``.Value``: what the template is about."""

    position: int
    source: str
    label: str | None
    is_value: bool


@dataclass(frozen=True, slots=True)
class Name:
    """A function."""

    position: int
    source: str


@dataclass(frozen=True, slots=True)
class Command:
    """A function with its arguments, or one operand alone."""

    position: int
    operands: tuple[Operand, ...]

    @property
    def source(self) -> str:
        return " ".join(f"({o.source})" if isinstance(o, Pipeline) else o.source for o in self.operands)


@dataclass(frozen=True, slots=True)
class Pipeline:
    position: int
    commands: tuple[Command, ...]

    @property
    def source(self) -> str:
        return " | ".join(command.source for command in self.commands)


Operand: TypeAlias = "Literal | Reference | Name | Pipeline"


@dataclass(frozen=True, slots=True)
class If:
    condition: Pipeline
    then: tuple[Part, ...]
    otherwise: tuple[Part, ...]


Part: TypeAlias = "str | Pipeline | If"
"""Text, an action whose value is printed, or a choice."""


def parse(text: str) -> tuple[Part, ...]:
    """Returns the parts of a template. Raises TemplateRefused."""
    return _Parser(text).whole()


MOST_COMMANDS: Final = 50
"""Of one action, those in parentheses among them: each waits for the one before it, or within it."""

MOST_NESTED: Final = 50
"""How deep ``if`` may be nested, an ``else if`` among them."""

_REFUSED_KEYWORDS: Final = frozenset({"range", "with", "define", "block", "template", "break", "continue"})


class _Parser:
    """Splits text from actions first, then takes the actions apart one after the other."""

    def __init__(self, text: str) -> None:
        self._parts: list[str | Action] = list(split(text))
        self._next = 0
        self._words: list[Word] = []
        self._place = 0
        self._commands = 0
        self._nested = 0

    def whole(self) -> tuple[Part, ...]:
        parts, ended_by = self._list()
        if ended_by:
            raise TemplateRefused(f"unexpected {{{{{ended_by}}}}}")
        return parts

    def _list(self) -> tuple[tuple[Part, ...], str]:
        """Returns the parts up to ``end`` or ``else``, and which."""
        parts: list[Part] = []
        while self._next < len(self._parts):
            part = self._parts[self._next]
            self._next += 1
            if isinstance(part, str):
                parts.append(part)
                continue
            self._words, self._place, self._commands = words(part), 0, 0
            word = self._peek()
            if word.kind == "name" and word.text in {"end", "else"}:
                return tuple(parts), word.text
            if word.kind == "name" and word.text in _REFUSED_KEYWORDS:
                raise TemplateRefused(f"`{{{{{part.inside.strip()}}}}}`: {word.text} is not supported")
            if word.kind == "name" and word.text == "if":
                self._take()
                parts.append(self._if())
            else:
                parts.append(self._to_end("command"))
        return tuple(parts), ""

    def _if(self) -> If:
        """The word ``if`` was just taken."""
        self._nested += 1
        if self._nested > MOST_NESTED:
            raise TemplateRefused(f"more than {MOST_NESTED} {{{{if}}}} within one another are not supported")
        following = self._peek(skip_space=False)
        if following.kind in {"string", "raw", "variable", "number"}:
            raise TemplateRefused(f"unexpected `{following.text}` right behind `if`")
        condition = self._to_end("if")
        then, ended_by = self._list()
        if not ended_by:
            raise TemplateRefused("an {{if}} has no {{end}}")
        otherwise: tuple[Part, ...] = ()
        if ended_by == "else":
            self._take()
            following = self._peek()
            if following.kind == "name" and following.text == "if":
                self._take()
                chained = self._if()
                self._nested -= 1
                return If(condition, then, (chained,))
            self._expect_end("else")
            otherwise, ended_by = self._list()
            if ended_by != "end":
                raise TemplateRefused("expected end; found {{else}}" if ended_by else "an {{if}} has no {{end}}")
        self._take()
        self._expect_end("end")
        self._nested -= 1
        return If(condition, then, otherwise)

    def _to_end(self, context: str) -> Pipeline:
        pipeline = self._pipeline(context)
        self._expect_end(context)
        return pipeline

    def _expect_end(self, context: str) -> None:
        left = self._peek()
        if left.kind != "end":
            raise TemplateRefused(f"unexpected `{left.text}` in {context}")

    def _pipeline(self, context: str) -> Pipeline:
        position = self._peek().position
        commands = [self._command(context)]
        while self._peek().text == "|":
            self._take()
            commands.append(self._command(context))
            first = commands[-1].operands[0]
            if not isinstance(first, Name):
                raise TemplateRefused(f"non executable command in pipeline stage {len(commands)}: `{first.source}`")
        return Pipeline(position, tuple(commands))

    def _command(self, context: str) -> Command:
        self._commands += 1
        if self._commands > MOST_COMMANDS:
            raise TemplateRefused(f"more than {MOST_COMMANDS} commands in one {{{{}}}} are not supported")
        position = self._peek().position
        operands: list[Operand] = []
        while (operand := self._operand()) is not None:
            operands.append(operand)
            following = self._peek(skip_space=False)
            if following.kind not in {"space", "end"} and following.text not in {"|", ")"}:
                raise TemplateRefused(f"unexpected `{following.text}` in operand")
        if not operands:
            raise TemplateRefused(f"missing value for {context}")
        if len(operands) > 1 and not isinstance(operands[0], Name):
            raise TemplateRefused(f"can't give argument to non-function `{operands[0].source}`")
        return Command(position, tuple(operands))

    def _operand(self) -> Operand | None:
        word = self._peek()
        if word.kind == "end" or word.text in {"|", ")"}:
            return None
        self._take()
        if word.text == "(":
            inner = self._pipeline("parenthesized pipeline")
            if self._take().text != ")":
                raise TemplateRefused("unclosed left paren")
            if self._peek(skip_space=False).kind == "field":
                raise TemplateRefused(f"`({inner.source}){self._peek(skip_space=False).text}`: no such field")
            return inner
        if word.kind in {"string", "raw", "number"} or word.text in {"true", "false"}:
            return Literal(word.position, word.text, constant(word))
        if word.kind in {"variable", "field"} or word.text == ".":
            return self._reference(word)
        if word.kind == "name" and word.text != "nil":
            return Name(word.position, word.text)
        raise TemplateRefused(f"`{word.text}` is not supported")

    def _reference(self, word: Word) -> Reference:
        if word.text == "." and self._peek(skip_space=False).kind == "field":
            raise TemplateRefused("unexpected `.` in operand")
        fields = [word] if word.kind == "field" else []
        while self._peek(skip_space=False).kind == "field":
            fields.append(self._take(skip_space=False))
        first = "" if word.kind == "field" or word.text == "." else word.text
        source = first + "".join(part.text for part in fields)
        position = word.position
        if len(fields) > (1 if not first else 0):
            position = fields[0 if first else 1].position  # where Go says that a chain of fields is
        path = [part.text[1:] for part in fields]
        known = {"$labels": "Labels", "$value": "Value"}.get(first)
        if known is not None:
            path = [known, *path]
        elif first not in {"", "$"}:
            raise TemplateRefused(f"`{first}` is not supported: a rule knows $labels and $value")
        if path == ["Value"]:
            return Reference(position, source, label=None, is_value=True)
        if path[:1] == ["Labels"] and len(path) <= 2:
            return Reference(position, source, label=path[1] if len(path) == 2 else None, is_value=False)
        raise TemplateRefused(f"`{source or '.'}` is not supported: a rule knows .Labels and .Value")

    def _peek(self, *, skip_space: bool = True) -> Word:
        place = self._place
        while skip_space and self._words[place].kind == "space":
            place += 1
        return self._words[place]

    def _take(self, *, skip_space: bool = True) -> Word:
        while skip_space and self._words[self._place].kind == "space":
            self._place += 1
        word = self._words[self._place]
        if word.kind != "end":
            self._place += 1
        return word

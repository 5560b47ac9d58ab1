"""Labels and annotations with templates, compiled once and expanded for each sample."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from exporter.rules.promql.unsupported import nearest
from exporter.rules.templates import parser
from exporter.rules.templates.functions import FUNCTIONS, NEEDS_PROMETHEUS, Function
from exporter.rules.templates.go_format import printed, unsupported_verb
from exporter.rules.templates.lexer import PREFIX, TemplateRefused
from exporter.rules.templates.parser import Command, If, Literal, Name, Operand, Part, Pipeline, Reference
from exporter.rules.templates.values import CallFailed, Value, truth, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Template", "TemplateRefused"]


class Template:
    """A text with actions. Raises TemplateRefused where it is not one that rules may use.

    ``labels`` are the names of those that it asks the sample for, ``uses_value``
    whether it asks for the value.
    """

    __slots__ = ("_alert", "_constant", "_parts", "labels", "text", "uses_value")

    def __init__(self, text: str, alert: str) -> None:
        self.text = text
        self._alert = alert
        compiler = _Compiler()
        parts = parser.parse(text)
        self._parts = [compiler.part(part) for part in parts]
        self._constant = text if all(isinstance(part, str) for part in parts) and "{{" not in text else None
        self.uses_value = compiler.uses_value
        self.labels = frozenset(compiler.labels)

    @property
    def is_constant(self) -> bool:
        return self._constant is not None

    def expand(self, labels: Mapping[str, str], value: float) -> str:
        """Returns the text for a sample; what fails is told in it, as Prometheus does."""
        if self._constant is not None:
            return self._constant
        scope = _Scope(labels, value)
        try:
            return "".join([part(scope) for part in self._parts])
        except _Failed as failure:
            return self._told(failure)

    def _told(self, failure: _Failed) -> str:
        name = f"__alert_{self._alert}"
        before = (PREFIX + self.text).encode()[: failure.position]
        line = before.count(b"\n") + 1
        column = failure.position - (before.rfind(b"\n") + 1)
        return (
            f"<error expanding template: error executing template {name}: template: {name}:{line}:{column}: "
            f'executing "{name}" at <{failure.source}>: {failure}>'
        )


class _Scope:
    """What one expansion is about; ``at`` is where it has come, for telling of failures."""

    __slots__ = ("at", "labels", "value")

    def __init__(self, labels: Mapping[str, str], value: float) -> None:
        self.labels = labels
        self.value = value
        self.at: Operand | Command | None = None


class _Failed(Exception):
    def __init__(self, at: Operand | Command, message: str) -> None:
        super().__init__(message)
        self.position = at.position
        self.source = at.source


class _Compiler:
    def __init__(self) -> None:
        self.uses_value = False
        self.labels: set[str] = set()

    def part(self, part: Part) -> Callable[[_Scope], str]:
        if isinstance(part, str):
            return lambda _: part
        if isinstance(part, If):
            return self._choice(part)
        run = self._pipeline(part)
        return lambda scope: printed(run(scope))

    def _choice(self, choice: If) -> Callable[[_Scope], str]:
        condition = self._pipeline(choice.condition)
        then = [self.part(part) for part in choice.then]
        otherwise = [self.part(part) for part in choice.otherwise]
        return lambda scope: "".join([part(scope) for part in (then if truth(condition(scope)) else otherwise)])

    def _pipeline(self, pipeline: Pipeline) -> Callable[[_Scope], Value]:
        run = self._command(pipeline.commands[0], None)
        for command in pipeline.commands[1:]:
            run = self._command(command, run)
        return run

    def _command(self, command: Command, piped: Callable[[_Scope], Value] | None) -> Callable[[_Scope], Value]:
        """``piped`` gives the last argument: what the command before it in the pipeline made."""
        first = command.operands[0]
        if not isinstance(first, Name):
            return self._operand(first)
        function = FUNCTIONS.get(first.source)
        if function is None:
            why = "is answered by Prometheus alone, and is not supported"
            if first.source not in NEEDS_PROMETHEUS:
                why = f"is not a function of templates{nearest(first.source, FUNCTIONS)}"
            raise TemplateRefused(f"`{first.source}` {why}")
        _check_format(first.source, command)
        arguments = [self._argument(operand) for operand in command.operands[1:]]
        count = len(arguments) + (piped is not None)
        if count < function.parameters or (count > function.parameters and not function.variadic):
            wanted = f"at least {function.parameters}" if function.variadic else str(function.parameters)
            raise TemplateRefused(f"`{command.source}`: {first.source} wants {wanted} arguments, not {count}")
        for operand in command.operands[1 : 1 + function.texts]:
            if isinstance(operand, Literal) and not isinstance(operand.value, str):
                raise TemplateRefused(f"`{command.source}`: {first.source} wants text, not {operand.source}")
        if first.source in {"and", "or"}:
            return _short_circuit(arguments, piped, until=first.source == "or")
        return _call(command, first, function, arguments, piped)

    def _argument(self, operand: Operand) -> Callable[[_Scope], Value]:
        if isinstance(operand, Name):
            raise TemplateRefused(f"`{operand.source}`: a function as an argument needs parentheses")
        run = self._operand(operand)

        def evaluated(scope: _Scope) -> Value:
            scope.at = operand
            return run(scope)

        return evaluated

    def _operand(self, operand: Operand) -> Callable[[_Scope], Value]:
        if isinstance(operand, Pipeline):
            return self._pipeline(operand)
        if isinstance(operand, Literal):
            constant = operand.value
            return lambda _: constant
        assert isinstance(operand, Reference)  # noqa: S101 - names are looked at before
        if operand.is_value:
            self.uses_value = True
            return lambda scope: scope.value
        label = operand.label
        if label is None:
            return lambda scope: dict(scope.labels)
        self.labels.add(label)
        return lambda scope: scope.labels.get(label, "")


def _check_format(name: str, command: Command) -> None:
    if name != "printf" or len(command.operands) < 2:
        return
    template = command.operands[1]
    if not isinstance(template, Literal):
        raise TemplateRefused(f"`{command.source}`: the format of printf must be written out")
    if isinstance(template.value, str) and (verb := unsupported_verb(template.value)):
        raise TemplateRefused(f"`{command.source}`: `{verb}` is not supported in a format")


def _short_circuit(
    arguments: Sequence[Callable[[_Scope], Value]], piped: Callable[[_Scope], Value] | None, *, until: bool
) -> Callable[[_Scope], Value]:
    """Returns the first argument that decides, or the last."""

    def run(scope: _Scope) -> Value:
        last = piped(scope) if piped is not None else ""
        value: Value = last
        for argument in arguments:
            value = argument(scope)
            if truth(value) is until:
                return value
        return last if piped is not None else value

    return run


def _call(
    command: Command,
    name: Name,
    function: Function,
    arguments: Sequence[Callable[[_Scope], Value]],
    piped: Callable[[_Scope], Value] | None,
) -> Callable[[_Scope], Value]:
    texts, call = function.texts, function.call

    def run(scope: _Scope) -> Value:
        last = [] if piped is None else [piped(scope)]
        scope.at = name
        given: list[Value] = []
        for value in chain((argument(scope) for argument in arguments), last):
            if len(given) < texts and not isinstance(value, str):
                raise _Failed(scope.at, f"wrong type for value; expected string; got {type_name(value)}")
            given.append(value)
        try:
            return call(*given)
        except CallFailed as error:
            raise _Failed(command, f"error calling {name.source}: {error}") from None

    return run

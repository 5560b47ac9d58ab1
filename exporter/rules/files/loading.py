"""Rule files read and compiled, all or nothing."""

from __future__ import annotations

import glob
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Final

from exporter import files
from exporter.alerts.alert import Severity
from exporter.durations import Duration
from exporter.errors import RuleFileInvalid
from exporter.rules.files.parser import ParsedGroup, ParsedRule, Text, parse_file
from exporter.rules.finding import Finding, Location
from exporter.rules.promql.expression import Expression, compile_rule
from exporter.rules.promql.lexer import opening
from exporter.rules.promql.lookback import ALL_MS, looks_back
from exporter.rules.promql.refusal import ExpressionRefused, Problem
from exporter.rules.promql.selectors import AlertNames
from exporter.rules.promql.series import PARTICIPANT, POLICY
from exporter.rules.promql.sources import LOOKBACK_MS
from exporter.rules.rule import CompiledRule, unexpanded_labels
from exporter.rules.templates.lexer import TemplateRefused
from exporter.rules.templates.template import Template
from exporter.structures import did_you_mean

MOST_BYTES: Final = 16_000_000
"""A larger file is refused: ten thousand rules with long descriptions have less."""

_MOST_QUOTED: Final = 500
"""Characters of an expression's line."""


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """``interval_seconds`` is for Prometheus; this program evaluates rules at every poll."""

    name: str
    file: str
    interval_seconds: float | None
    rules: tuple[CompiledRule, ...]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All groups of all files, in order. ``checksum`` is that of the files' contents."""

    groups: tuple[RuleGroup, ...]
    checksum: str
    files: tuple[str, ...] = ()

    @property
    def rules(self) -> tuple[CompiledRule, ...]:
        return tuple(rule for group in self.groups for rule in group.rules)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The outcome of loading rule files: what could be read and compiled, and what is wrong with the rest.

    ``contents`` by file. ``groups`` are as written; ``compiled`` are the rules that compile, each with its group
    and itself as written.
    """

    contents: Mapping[str, bytes]
    groups: tuple[ParsedGroup, ...]
    compiled: tuple[tuple[ParsedGroup, ParsedRule, CompiledRule], ...]
    rule_set: RuleSet
    errors: tuple[Finding, ...]

    def accepted(self, *, allow_none: bool = True) -> RuleSet:
        """Returns the rule set.

        Raises RuleFileInvalid with all errors; unless ``allow_none``, also where there is no rule: a file that was
        emptied would resolve every alert.
        """
        errors = self.errors
        if not errors and not self.rule_set.rules and not allow_none:
            message = "there is no rule at all; where that is meant, set rules.allow_none"
            errors = (Finding(", ".join(self.contents), 0, "", "", message),)
        if errors:
            raise RuleFileInvalid("\n".join(map(str, errors)), errors)
        return self.rule_set


def load(patterns: Sequence[str], max_range_seconds: float = math.inf, *, allow_none: bool = True) -> RuleSet:
    """Reads and compiles the rule files. Raises RuleFileInvalid where `Attempt.accepted` does."""
    return attempt(patterns, max_range_seconds).accepted(allow_none=allow_none)


def attempt(patterns: Sequence[str], max_range_seconds: float = math.inf) -> Attempt:
    """Reads and compiles what can be. A rule that looks back further than ``max_range_seconds`` is an error."""
    findings = [
        Finding(pattern, 0, "", "", "no rule file matches") for pattern in patterns if not matching_files([pattern])
    ]
    parsed: list[ParsedGroup] = []
    contents: dict[str, bytes] = {}
    for file in matching_files(patterns):
        try:
            contents[file] = files.read(file, MOST_BYTES)
        except OSError as error:
            findings.append(Finding(file, 0, "", "", f"cannot be read: {error.strerror}"))
            continue
        parsed += parse_file(file, contents[file], findings)
    groups_of_alerts: dict[str, list[ParsedGroup]] = {}
    for group in parsed:
        for name in {rule.name for rule in group.rules}:
            groups_of_alerts.setdefault(name, []).append(group)
    groups: list[RuleGroup] = []
    compiled: list[tuple[ParsedGroup, ParsedRule, CompiledRule]] = []
    for group in parsed:
        names = AlertNames(frozenset(rule.name for rule in group.rules), _ForeignAlerts(groups_of_alerts, group))
        rules = _compile_group(_Compiler(group, names, findings, max_range_seconds), group)
        compiled += [(group, written, rule) for written, rule in rules]
        groups.append(RuleGroup(group.name, group.file, group.interval_seconds, tuple(rule for _, rule in rules)))
    # What an expression holds twice is reported once.
    errors = sorted(dict.fromkeys(findings), key=attrgetter("file", "line"))
    rule_set = RuleSet(tuple(groups), _digest(contents), tuple(contents))
    return Attempt(contents, tuple(parsed), tuple(compiled), rule_set, tuple(errors))


def checksum(patterns: Sequence[str]) -> str:
    """Returns what changes when a file's contents do, or when one comes, goes, or can't be read."""
    contents: dict[str, bytes] = {}
    for file in matching_files(patterns):
        try:
            contents[file] = b"+" + files.read(file, MOST_BYTES)
        except OSError as error:
            contents[file] = b"-" + str(error.errno).encode()
    return _digest(contents)


def matching_files(patterns: Sequence[str]) -> list[str]:
    """Returns the files that match, each once, in the order of the patterns."""
    names: dict[str, None] = {}
    for pattern in patterns:
        names |= dict.fromkeys(sorted(glob.glob(pattern)))  # noqa: PTH207 - a Path can't glob an absolute pattern
    return list(names)


def _digest(contents: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for file, content in contents.items():
        digest.update(f"{file}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


class _ForeignAlerts(Mapping[str, str]):
    """The alerts of all groups but one, with their group's name. A view: a copy for each group would be quadratic."""

    def __init__(self, groups_of_alerts: Mapping[str, Sequence[ParsedGroup]], own: ParsedGroup) -> None:
        self._groups_of_alerts = groups_of_alerts
        self._own = own

    def __getitem__(self, name: str) -> str:
        for group in reversed(self._groups_of_alerts[name]):
            if group is not self._own:
                return group.name
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, groups in self._groups_of_alerts.items() if groups != [self._own])

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _compile_group(compiler: _Compiler, group: ParsedGroup) -> list[tuple[ParsedRule, CompiledRule]]:
    """Returns the group's rules that compile, each beside itself as written."""
    compiled = {key: compiler.rule(rule) for key, rule in {id(rule): rule for rule in group.rules}.items()}
    compiler.unexpanded |= unexpanded_labels(rule for rule in compiled.values() if rule is not None)
    return [(written, rule) for written in group.rules if (rule := compiled[id(written)]) is not None]


class _Compiler:
    """Compiles the rules of one group; ``findings`` takes the errors."""

    def __init__(
        self, group: ParsedGroup, alerts: AlertNames, findings: list[Finding], max_range_seconds: float
    ) -> None:
        self._max_range_seconds = max_range_seconds
        self.unexpanded: dict[tuple[str, str, Severity], Mapping[str, str]] = {}
        self._group = group
        self._findings = findings
        # Each text is compiled once: whole files are made of a few expressions.
        self._expression = cache(lambda text: _expression(text, alerts))

    def rule(self, rule: ParsedRule) -> CompiledRule | None:
        def report(line: int, message: str, column: int = 0) -> None:
            group = self._group
            self._findings.append(Finding(group.file, line, group.name, rule.name, message, column=column))

        before = len(self._findings)
        expression = self._expression(rule.expr.text)
        if not isinstance(expression, Expression):
            for problem in expression:
                location, message = _located(problem, rule.expr)
                report(location.line, message, location.column)
        else:
            for location, message in self._too_far(expression, rule.expr):
                report(location.line, message, location.column)
        severity = _severity(rule, report)
        if PARTICIPANT in rule.labels:
            report(rule.labels[PARTICIPANT].line, "a rule may not set the label participant")
        labels = _templates("label", rule.labels, report)
        annotations = _templates("annotation", rule.annotations, report)
        if not isinstance(expression, Expression) or severity is None or len(self._findings) > before:
            return None
        own_policy = rule.labels.get(POLICY)
        return CompiledRule(
            group=self._group.name,
            name=rule.name,
            expression=expression,
            for_seconds=rule.for_seconds,
            keep_firing_for_seconds=rule.keep_firing_for_seconds,
            severity=severity,
            per_policy=bool(own_policy.text) if own_policy is not None else expression.vector.carries_policy,
            lookback_ms=self._lookback_ms(expression),
            labels=labels,
            annotations=annotations,
            file=self._group.file,
            line=rule.line,
            unexpanded=self.unexpanded,
        )

    def _too_far(self, expression: Expression, expr: Text) -> Iterator[tuple[Location, str]]:
        """Yields what looks back further than anything is kept."""
        for tree, _, back_ms in looks_back(expression.tree):
            # Samples are seen for five minutes more: they come on top.
            if self._max_range_seconds * 1000 + LOOKBACK_MS < back_ms < ALL_MS:
                back, kept = Duration(back_ms / 1000), Duration(self._max_range_seconds)
                why = f"looks {back} back, and rules.max_range is {kept}: raise it, or look back less"
                yield expr.location(tree.span.begin), f"`{expression.excerpt(tree)}` {why}"

    def _lookback_ms(self, expression: Expression) -> Mapping[str, int]:
        if math.isinf(self._max_range_seconds):
            return expression.lookback_ms
        kept_ms = round(self._max_range_seconds * 1000) + LOOKBACK_MS
        return {metric: min(ms, kept_ms) for metric, ms in expression.lookback_ms.items()}


def _expression(text: str, alerts: AlertNames) -> Expression | tuple[Problem, ...]:
    try:
        return compile_rule(text, alerts)
    except ExpressionRefused as refused:
        return refused.problems


def _located(problem: Problem, expr: Text) -> tuple[Location, str]:
    """Returns where in the file something is wrong, and a sentence that quotes that line of the expression alone."""
    if problem.position is None:
        return Location(expr.line), problem.message
    location = expr.location(problem.position)
    error = problem.error
    if error is None or not location.column:
        return location, problem.message
    opened = expr.location(error.opened) if error.opened is not None else None
    also = "" if opened is None else opening(opened.line, opened.column)
    begin = expr.text.rfind("\n", 0, min(problem.position, len(expr.text.rstrip()))) + 1
    quoted = expr.text[begin:].lstrip("\n").partition("\n")[0].strip()
    if len(quoted) > _MOST_QUOTED:
        quoted = f"{quoted[:_MOST_QUOTED]}..."
    return location, f"`{quoted}`{error.verdict}: {error.reason}{also}"


def _severity(rule: ParsedRule, report: Callable[[int, str], None]) -> Severity | None:
    severities = ", ".join(Severity)
    label = rule.labels.get("severity")
    if label is None:
        report(rule.line, f"a rule needs the label severity ({severities})")
        return None
    try:
        return Severity(label.text)
    except ValueError:
        report(label.line, f"severity `{label.text}` is none of {severities}{did_you_mean(label.text, list(Severity))}")
        return None


def _templates(kind: str, texts: Mapping[str, Text], report: Callable[[int, str], None]) -> dict[str, Template]:
    templates: dict[str, Template] = {}
    for name, text in texts.items():
        try:
            templates[name] = Template(text.text)
        except TemplateRefused as refused:
            report(text.line, f"{kind} {name}: {refused}")
        except RecursionError:
            report(text.line, f"{kind} {name}: the template is nested too deeply")
    return templates

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
from exporter.rules.promql.lookback import ALL_MS, lookback_ms, looks_back
from exporter.rules.promql.refusal import ExpressionRefused, Problem
from exporter.rules.promql.series import PARTICIPANT, POLICY
from exporter.rules.promql.sources import LOOKBACK_MS
from exporter.rules.promql.tree import Tree
from exporter.rules.rule import CompiledRule, unexpanded_labels
from exporter.rules.templates.lexer import TemplateRefused
from exporter.rules.templates.template import NOTHING_EXTERNAL, External, Template
from exporter.structures import did_you_mean

MOST_BYTES: Final = 16_000_000
"""A larger file is refused: ten thousand rules with long descriptions have less."""

_MOST_QUOTED: Final = 500
"""Characters of an expression's line."""


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """``interval_seconds`` is for Prometheus; this program evaluates rules at every poll.

    ``limit`` is the most alerts that one of its rules may have; 0: any number.
    """

    name: str
    file: str
    interval_seconds: float | None
    rules: tuple[CompiledRule, ...]
    limit: int = 0


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


@dataclass(frozen=True, slots=True)
class Options:
    """A rule that looks back further than ``max_range_seconds`` is an error; ``external`` is what templates know.

    So is a field that is not known, unless ``ignore_unknown_fields``.
    """

    max_range_seconds: float = math.inf
    ignore_unknown_fields: bool = False
    external: External = NOTHING_EXTERNAL


DEFAULTS: Final = Options()


def load(patterns: Sequence[str], options: Options = DEFAULTS, *, allow_none: bool = True) -> RuleSet:
    """Reads and compiles the rule files. Raises RuleFileInvalid where `Attempt.accepted` does."""
    return attempt(patterns, options).accepted(allow_none=allow_none)


def attempt(patterns: Sequence[str], options: Options = DEFAULTS) -> Attempt:
    """Reads and compiles what can be."""
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
        parsed += parse_file(file, contents[file], findings, ignore_unknown_fields=options.ignore_unknown_fields)
    by_time = len({group.query_offset_seconds for group in parsed}) > 1
    compiler = _Compiler(options, findings, sees_alerts_by_time=by_time)
    groups: list[RuleGroup] = []
    compiled: list[tuple[ParsedGroup, ParsedRule, CompiledRule]] = []
    for group in parsed:
        rules = _compile_group(compiler, group)
        compiled += [(group, written, rule) for written, rule in rules]
        of_group = tuple(rule for _, rule in rules)
        groups.append(RuleGroup(group.name, group.file, group.interval_seconds, of_group, group.limit))
    compiler.unexpanded |= unexpanded_labels(rule for _, _, rule in compiled)
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


def _compile_group(compiler: _Compiler, group: ParsedGroup) -> list[tuple[ParsedRule, CompiledRule]]:
    """Returns the group's rules that compile, each beside itself as written."""
    compiled = {key: compiler.rule(group, rule) for key, rule in {id(rule): rule for rule in group.rules}.items()}
    return [(written, rule) for written in group.rules if (rule := compiled[id(written)]) is not None]


class _Compiler:
    """Compiles rules; ``findings`` takes the errors. ``unexpanded`` is to take the rules' labels that are templates."""

    def __init__(self, options: Options, findings: list[Finding], *, sees_alerts_by_time: bool) -> None:
        self.unexpanded: dict[tuple[str, str, Severity], Mapping[str, str]] = {}
        self._options = options
        self._sees_alerts_by_time = sees_alerts_by_time
        self._findings = findings
        # Each text is compiled once: whole files are made of a few expressions.
        self._expression = cache(_expression)

    def rule(self, group: ParsedGroup, rule: ParsedRule) -> CompiledRule | None:
        def report(line: int, message: str, column: int = 0) -> None:
            self._findings.append(Finding(group.file, line, group.name, rule.name, message, column=column))

        before = len(self._findings)
        query_offset_ms = round(group.query_offset_seconds * 1000)
        expression = self._expression(rule.expr.text)
        if not isinstance(expression, Expression):
            for problem in expression:
                location, message = _located(problem, rule.expr)
                report(location.line, message, location.column)
        else:
            for tree, why in self._too_far(expression.tree, query_offset_ms):
                location = rule.expr.location(tree.span.begin)
                report(location.line, f"`{expression.excerpt(tree)}` {why}", location.column)
        severity = _severity(rule, report)
        if PARTICIPANT in rule.labels:
            report(rule.labels[PARTICIPANT].line, "a rule may not set the label participant")
        labels = _templates("label", rule.labels, report)
        annotations = _templates("annotation", rule.annotations, report)
        if not isinstance(expression, Expression) or severity is None or len(self._findings) > before:
            return None
        own_policy = rule.labels.get(POLICY)
        return CompiledRule(
            group=group.name,
            name=rule.name,
            expression=expression,
            for_seconds=rule.for_seconds,
            keep_firing_for_seconds=rule.keep_firing_for_seconds,
            severity=severity,
            per_policy=bool(own_policy.text) if own_policy is not None else expression.vector.carries_policy,
            lookback_ms=self._lookback_ms(expression, query_offset_ms),
            labels=labels,
            annotations=annotations,
            file=group.file,
            line=rule.line,
            limit=group.limit,
            query_offset_ms=query_offset_ms,
            sees_alerts_by_time=self._sees_alerts_by_time,
            external=self._options.external,
            unexpanded=self.unexpanded,
        )

    def _too_far(self, tree: Tree, query_offset_ms: int) -> Iterator[tuple[Tree, str]]:
        """Yields what looks back further than anything is kept."""
        most_seconds = self._options.max_range_seconds
        for look in looks_back(tree, query_offset_ms, alerts_by_time=self._sees_alerts_by_time):
            # Samples are seen for five minutes more: they come on top.
            if most_seconds * 1000 + LOOKBACK_MS < look.back_ms < ALL_MS:
                back, kept = Duration(look.back_ms / 1000), Duration(most_seconds)
                yield look.tree, f"looks {back} back, and rules.max_range is {kept}: raise it, or look back less"

    def _lookback_ms(self, expression: Expression, query_offset_ms: int) -> Mapping[str, int]:
        looked_ms = lookback_ms(expression.tree, query_offset_ms, alerts_by_time=self._sees_alerts_by_time)
        if math.isinf(self._options.max_range_seconds):
            return looked_ms
        kept_ms = round(self._options.max_range_seconds * 1000) + LOOKBACK_MS
        return {metric: min(ms, kept_ms) for metric, ms in looked_ms.items()}


def _expression(text: str) -> Expression | tuple[Problem, ...]:
    try:
        return compile_rule(text)
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

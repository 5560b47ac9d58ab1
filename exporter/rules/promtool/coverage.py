"""What tests make true: rules (one that records: it does), branches of ``or``, both sides of an ``if`` in texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from exporter.numbers import counted
from exporter.rules.promql.nodes import Instant, run
from exporter.rules.promql.series import Vector
from exporter.rules.promql.sources import Moment
from exporter.rules.promql.tree import Binary, Tree, walk, without_parens
from exporter.rules.rule import AnyCompiledRule
from exporter.rules.templates.template import Template

Key: TypeAlias = "tuple[str, ...]"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a rule that a test can make true. ``kind`` is rule, branch or text."""

    file: str
    line: int
    group: str
    rule: str
    kind: str
    what: str
    is_covered: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.group}/{self.rule}: {self.what}"


@dataclass(slots=True)
class _Covered:
    rule: AnyCompiledRule
    parts: dict[Key, str]
    covered: set[Key]


class Coverage:
    """Takes what tests make true. Each file's rules are the same in all tests."""

    def __init__(self) -> None:
        self._rules: dict[tuple[Path, str, int, str], _Covered] = {}

    def watched(self, rule: AnyCompiledRule) -> AnyCompiledRule:
        """Returns the rule, whose evaluations are noted from now on."""
        key = Path(rule.file).resolve(), rule.group, rule.line, rule.name
        covered = self._rules.get(key)
        if covered is None:
            covered = self._rules[key] = _Covered(rule, dict(_parts(rule)), set())
        return replace(rule, expression=rule.expression.running(_watched(rule, covered.covered)))

    def parts(self) -> list[Part]:
        """Returns the parts of all rules, in their order."""
        return [
            Part(one.rule.file, one.rule.line, one.rule.group, one.rule.name, key[0], what, key in one.covered)
            for one in self._rules.values()
            for key, what in one.parts.items()
        ]


def render(parts: Sequence[Part]) -> str:
    """Returns a table, a line for each rule, and what no test makes true."""
    by_rule: dict[tuple[str, int, str, str], list[Part]] = defaultdict(list)
    for part in parts:
        by_rule[part.file, part.line, part.group, part.rule].append(part)
    table = [("RULE", "TRUE", "BRANCHES", "TEXTS")]
    for (_, _, group, rule), of_rule in by_rule.items():
        is_true = "yes" if all(part.is_covered for part in of_rule if part.kind == "rule") else "no"
        table.append((f"{group}/{rule}", is_true, _count(of_rule, "branch"), _count(of_rule, "text")))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    covered = sum(part.is_covered for part in parts)
    total = f"{covered} of {counted(len(parts), 'part')} of rules covered, {percent(parts):.1f} %"
    return "\n".join([*lines, "", *(str(part) for part in parts if not part.is_covered), total])


def _count(parts: Sequence[Part], kind: str) -> str:
    of_kind = [part for part in parts if part.kind == kind]
    return f"{sum(part.is_covered for part in of_kind)} of {len(of_kind)}" if of_kind else "-"


def percent(parts: Sequence[Part]) -> float:
    """Returns how many of the parts are covered; 100 where there are none."""
    return 100.0 * sum(part.is_covered for part in parts) / len(parts) if parts else 100.0


def _parts(rule: AnyCompiledRule) -> Iterator[tuple[Key, str]]:
    yield ("rule",), "is never true" if rule.kind == "alerting" else "never records anything"
    for tree in _branches(rule):
        yield ("branch", str(tree.span)), f"`{rule.expression.excerpt(tree)}` is never true"
    for name, template in _texts(rule):
        for number, condition in enumerate(template.conditions):
            for is_true, word in ((True, "true"), (False, "false")):
                yield ("text", name, str(number), str(is_true)), f"{name}: `{{{{{condition}}}}}` is never {word}"


def _branches(rule: AnyCompiledRule) -> list[Tree]:
    """Returns the sides of each ``or``, in their order, but for those that are one themselves."""
    operations = [tree for tree in walk(rule.expression.tree) if _is_or(tree)]
    sides = [without_parens(side) for operation in operations for side in operation.operands]
    return sorted((side for side in sides if not _is_or(side)), key=lambda side: side.span.begin)


def _is_or(tree: Tree) -> bool:
    return isinstance(tree, Binary) and tree.operator == "or"


def _watched(rule: AnyCompiledRule, covered: set[Key]) -> Callable[[Moment], Vector]:
    """Returns what evaluates a rule's expression, and notes what was true."""
    expression, branches = rule.expression, _branches(rule)

    def evaluated(moment: Moment) -> Vector:
        samples = run(expression.vector.run, moment)
        for tree in branches:
            node = expression.node(tree)
            if isinstance(node, Instant) and run(node.run, moment):
                covered.add(("branch", str(tree.span)))
        if samples:
            covered.add(("rule",))
        if rule.kind == "recording":
            return samples
        for sample in samples:
            for name, template in _texts(rule):
                taken = template.taken(*rule.in_templates(sample))
                covered.update(("text", name, str(number), str(is_true)) for number, is_true in taken)
        return samples

    return evaluated


def _texts(rule: AnyCompiledRule) -> list[tuple[str, Template]]:
    return [*rule.labels.items(), *rule.annotations.items()] if rule.kind == "alerting" else []

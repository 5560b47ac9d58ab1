"""What is wrong with rule files, and what could be better: `rules check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.rules.files.loading import attempt
from exporter.rules.finding import Finding
from exporter.rules.lint.outages import Trials
from exporter.rules.lint.pointless_comparisons import pointless_comparisons
from exporter.rules.promql.compiler import Problem
from exporter.rules.promql.expression import PARTICIPANT, POLICY, written
from exporter.rules.promql.series import METRIC_NAME
from exporter.rules.promql.sources import ALERT_SERIES, BUCKET_GAUGE_BY_NAME, PARTICIPANT_GAUGE_BY_NAME
from exporter.rules.promql.traversal import listed_labels, selectors
from exporter.rules.promql.unsupported import nearest

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from exporter.rules.files.loading import Attempt
    from exporter.rules.files.parser import ParsedGroup, ParsedRule
    from exporter.rules.promql.traversal import Selected
    from exporter.rules.rule import CompiledRule

RUNBOOK: Final = "runbook_url"

_SCRAPED: Final = frozenset({"job", "instance"})
"""Labels that a scrape adds: in Prometheus every series has them, here none."""

_OF_ALERTS: Final = frozenset(
    {"alertname", "alertstate", "severity", PARTICIPANT, POLICY, "psp_category", "previous_psp_category", *_SCRAPED}
)


def check(patterns: Sequence[str]) -> list[Finding]:
    """Returns errors (what keeps the files from loading) and warnings, by file and line."""
    return findings_of(attempt(patterns))


def findings_of(made: Attempt) -> list[Finding]:
    """Returns those of files that were read."""
    labels = {
        id(group): _OF_ALERTS.union(label for rule in group.rules for label in rule.labels) for group in made.parsed
    }
    findings = list(made.errors)
    trials = Trials()
    for group, parsed, rule in {id(rule): (group, parsed, rule) for group, parsed, rule in made.compiled}.values():
        findings += _lint(group, parsed, rule, labels[id(group)], trials)
    findings += dict.fromkeys(_duplicates(made.parsed))
    return sorted(findings, key=lambda finding: (finding.file, finding.line))


def _lint(
    group: ParsedGroup, parsed: ParsedRule, rule: CompiledRule, of_alerts: frozenset[str], trials: Trials
) -> Iterator[Finding]:
    def warning(line: int, message: str) -> Finding:
        return Finding(group.file, line, group.name, rule.name, message, "warning")

    if RUNBOOK not in rule.annotations:
        yield warning(parsed.line, f"has no annotation {RUNBOOK}: say what to do when it fires")
    for sentence in trials.findings(rule):
        yield warning(parsed.expr.line, sentence)
    for problem in pointless_comparisons(rule.expression.tree):
        yield warning(parsed.expr.line_of(problem.construct), problem.message)
    selected = list(selectors(rule.expression.tree))
    known = frozenset({METRIC_NAME}).union(*(_labels_of(s.metric, of_alerts) for s in selected))
    for problem in _unknown_labels(rule, selected, known, of_alerts):
        yield warning(parsed.expr.line_of(problem.construct), problem.message)
    for kind, texts, templates in (
        ("label", parsed.labels, rule.labels),
        ("annotation", parsed.annotations, rule.annotations),
    ):
        for name, template in templates.items():
            if kind == "label" and template.uses_value:
                yield warning(
                    texts[name].line,
                    f"label {name}: `{template.text}` depends on $value, so that another value makes another alert",
                )
            for label in sorted(template.labels - known):
                hint = nearest(label, known)
                yield warning(texts[name].line, f"{kind} {name}: `$labels.{label}` is always empty{hint}")


def _unknown_labels(
    rule: CompiledRule, selected: Sequence[Selected], known: frozenset[str], of_alerts: frozenset[str]
) -> Iterator[Problem]:
    for one in selected:
        own = _labels_of(one.metric, of_alerts)
        for matcher in one.matchers:
            if matcher.label not in own:
                hint = nearest(matcher.label, own)
                text = written(one.tree)
                yield Problem(f"`{text}`: {one.metric} has no label {matcher.label}{hint}", text)
            elif matcher.label in _SCRAPED and not matcher.predicate()(""):
                text = written(one.tree)
                why = f"{matcher.label} is what Prometheus' scrape adds, and no series of this program has it"
                yield Problem(f"`{text}` selects nothing here: {why}", text)
    for part, label in listed_labels(rule.expression.tree):
        if label not in known:
            text = written(part)
            yield Problem(f"`{text}`: no series here has a label {label}{nearest(label, known)}", text)


def _labels_of(metric: str, of_alerts: frozenset[str]) -> frozenset[str]:
    if metric in ALERT_SERIES:
        return of_alerts
    if metric in BUCKET_GAUGE_BY_NAME:
        return _SCRAPED | {PARTICIPANT, POLICY}
    gauge = PARTICIPANT_GAUGE_BY_NAME.get(metric)
    return _SCRAPED | {PARTICIPANT, *(gauge.label_names if gauge else ())}


def _duplicates(groups: Sequence[ParsedGroup]) -> Iterator[Finding]:
    """Two rules of one name and labels are told apart by nothing: Prometheus fails on their series."""

    def identity(rule: ParsedRule) -> tuple[str, frozenset[tuple[str, str]]]:
        return rule.name, frozenset((name, text.text) for name, text in rule.labels.items())

    rules = [(group, rule) for group in groups for rule in group.rules]
    alike: dict[Hashable, list[tuple[str, int]]] = {}
    for group, rule in rules:
        alike.setdefault(identity(rule), []).append((group.file, rule.line))
    for group, rule in rules:
        places = alike[identity(rule)]
        if len(places) > 1:
            own = (group.file, rule.line)
            other = places[0] if places[0] != own else next((place for place in places if place != own), own)
            told = f"line {other[1]}" if other[0] == group.file else f"{other[0]}:{other[1]}"
            message = f"is there again in {told}, with the same labels: their alerts are one and the same"
            if other == own:
                message = "is there more than once, through aliases: their alerts are one and the same"
            yield Finding(group.file, rule.line, group.name, rule.name, message, "warning")

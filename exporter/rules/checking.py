"""What is wrong with rule files, and what could be better: `rules check`."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from exporter.alerts.alert import Alert, AlertState, fingerprint
from exporter.buckets.bucket import Bucket, Ispb, PolicyName
from exporter.buckets.catalog import POLICIES
from exporter.buckets.gauges import PARTICIPANT_INFO
from exporter.buckets.observation import BucketObservation, Failure, Observation, Poll, View, view_after
from exporter.errors import RuleEvaluationFailed
from exporter.rules.finding import Finding
from exporter.rules.loading import attempt
from exporter.rules.promql.expression import PARTICIPANT, POLICY, written
from exporter.rules.promql.selecting import nearest
from exporter.rules.promql.series import METRIC_NAME
from exporter.rules.promql.sources import ALERTS, BUCKET_GAUGE_BY_NAME, PARTICIPANT_GAUGE_BY_NAME
from exporter.rules.promql.walking import listed_labels, selectors
from exporter.rules.ranges import pointless_comparisons

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exporter.rules.parsing import ParsedGroup, ParsedRule
    from exporter.rules.rule import CompiledRule

RUNBOOK: Final = "runbook_url"

_SCRAPED: Final = frozenset({"job", "instance"})
"""Labels that a scrape adds: in Prometheus every series has them, here none."""

_OF_ALERTS: Final = frozenset(
    {"alertname", "alertstate", "severity", PARTICIPANT, POLICY, "psp_category", "previous_psp_category"}
)

_TIME: Final = ("hour", "minute", "day_", "days_", "month", "year", "time")
"""What functions of the time have in their names."""

_EXTREMES: Final = [
    (0, 1_000_000.0, 0.0, 1.0),
    (1, 10_000.0, 1.0, 0.9),
    (50, 10.0, 300.0, 0.3),
    (100, 0.0, math.inf, 0.0),
]
"""Figures at which rules fire: tokens left (percent), consumption a minute, seconds to empty, share of 404s."""

_SOME_WEEK: Final = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(7 * 24)]


def check(patterns: Sequence[str]) -> list[Finding]:
    """Returns errors (what keeps the files from loading) and warnings, by file and line."""
    made = attempt(patterns)
    compiled = {(rule.file, rule.line): rule for rule in made.rule_set.rules}
    findings = list(made.errors)
    for group in made.parsed:
        names = frozenset(label for rule in group.rules for label in rule.labels)
        for parsed in group.rules:
            rule = compiled.get((group.file, parsed.line))
            if rule is not None:
                findings += _lint(group, parsed, rule, _OF_ALERTS | names)
    findings += _duplicates(made.parsed)
    return sorted(findings, key=lambda finding: (finding.file, finding.line))


def _lint(group: ParsedGroup, parsed: ParsedRule, rule: CompiledRule, of_alerts: frozenset[str]) -> Iterator[Finding]:
    def warning(line: int, message: str) -> Finding:
        return Finding(group.file, line, group.name, rule.name, message, "warning")

    if RUNBOOK not in rule.annotations:
        yield warning(parsed.line, f"has no annotation {RUNBOOK}: say what to do when it fires")
    for sentence in _of_outages(rule):
        yield warning(parsed.expr.line, sentence)
    for sentence in pointless_comparisons(rule.expression.tree):
        yield warning(parsed.expr.line, sentence)
    for sentence in _unknown_labels(rule, of_alerts):
        yield warning(parsed.expr.line, sentence)
    known = _labels_of_expression(rule, of_alerts) | {METRIC_NAME}
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
                hint = nearest(label, sorted(known))
                yield warning(texts[name].line, f"{kind} {name}: `$labels.{label}` is always empty{hint}")


def _of_outages(rule: CompiledRule) -> Iterator[str]:
    if not _goes_stale(rule):
        return
    if not _holds(rule):
        yield (
            "has no hold: while the Bridge does not answer it resolves as soon as its gauges are no longer served; "
            f'add `or max by ({_identity(rule)}) (ALERTS{{alertname="{rule.name}", alertstate="firing"}} '
            "and on (participant) dict_rate_limit_up == 0)`"
        )
    if any(s.metric in BUCKET_GAUGE_BY_NAME for s in selectors(rule.expression.tree)) and _begins_on_old_figures(rule):
        yield (
            "may begin to fire while the Bridge does not answer, on figures from before; "
            "let its threshold ask for an answered poll: `and on (participant) dict_rate_limit_up == 1`"
        )


def _identity(rule: CompiledRule) -> str:
    return f"{PARTICIPANT}, {POLICY}" if rule.per_policy else PARTICIPANT


def _goes_stale(rule: CompiledRule) -> bool:
    """Whether it looks at gauges that are no longer served when no answer has confirmed them for long."""
    return any(
        s.metric in BUCKET_GAUGE_BY_NAME or s.metric == PARTICIPANT_INFO for s in selectors(rule.expression.tree)
    )


def _holds(rule: CompiledRule) -> bool:
    """Whether the alert goes on while the Bridge has not answered for long, at some hour of the week at least."""
    participant, policy = Ispb("00000000"), PolicyName("POLICY") if rule.per_policy else None
    labels = {name: template.text for name, template in rule.labels.items()}
    labels |= {"alertname": rule.name, PARTICIPANT: participant, **({POLICY: policy} if policy else {})}
    for at in _SOME_WEEK:
        view = View(_some_poll(at, Failure("UNAVAILABLE", "the Bridge does not answer")))
        firing = Alert(
            fingerprint=fingerprint(labels),
            group=rule.group,
            name=rule.name,
            severity=rule.severity,
            participant=participant,
            policy=policy,
            labels=labels,
            annotations={},
            value=1.0,
            state=AlertState.FIRING,
            active_since=at,
            firing_since=at,
        )
        try:
            if rule.evaluate(view, [firing]):
                return True
        except RuleEvaluationFailed:
            return True  # what fails keeps its alerts as they are
    return False


def _begins_on_old_figures(rule: CompiledRule) -> bool:
    """Whether an alert begins at a failed poll as it would at an answered one, for figures that are likely to do so.

    One that the outage itself begins, without any figures, does not count.
    """
    instants = _SOME_WEEK[::3] if any(name in rule.expr for name in _TIME) else _SOME_WEEK[:1]
    for at in instants:
        for figures in _EXTREMES:
            answered = view_after(None, _some_poll(at, _observation(at, figures)))
            without_answer = _some_poll(at, Failure("UNAVAILABLE", "the Bridge does not answer"))
            try:
                if (
                    rule.evaluate(answered, [])
                    and rule.evaluate(view_after(answered, without_answer), [])
                    and not rule.evaluate(View(without_answer), [])
                ):
                    return True
            except RuleEvaluationFailed:
                continue
    return False


def _observation(at: datetime, figures: tuple[int, float, float, float]) -> Observation:
    left_percent, rate, seconds, share = figures
    buckets = [
        BucketObservation(Bucket(policy, left_percent * 1_000, 100_000, 1_000, 60), rate, seconds, share)
        for policy in sorted([*POLICIES, PolicyName("POLICY")])
    ]
    return Observation(Ispb("00000000"), at, "A", "", tuple(buckets))


def _some_poll(at: datetime, result: Observation | Failure) -> Poll:
    return Poll(
        stream_id="",
        sequence=1,
        participant=Ispb("00000000"),
        polled_at=at,
        interval_seconds=15.0,
        staleness_seconds=300.0,
        result=result,
        last_success_at=at if isinstance(result, Observation) else at - timedelta(hours=1),
    )


def _unknown_labels(rule: CompiledRule, of_alerts: frozenset[str]) -> Iterator[str]:
    for selected in selectors(rule.expression.tree):
        known = _labels_of(selected.metric, of_alerts)
        for matcher in selected.matchers:
            if matcher.label not in known:
                hint = nearest(matcher.label, sorted(known))
                yield f"`{written(selected.tree)}`: {selected.metric} has no label {matcher.label}{hint}"
            elif matcher.label in _SCRAPED and not matcher.predicate()(""):
                yield (
                    f"`{written(selected.tree)}` selects nothing here: "
                    f"{matcher.label} is what Prometheus' scrape adds, and no series of this program has it"
                )
    known = _labels_of_expression(rule, of_alerts) | {METRIC_NAME}
    for part, label in listed_labels(rule.expression.tree):
        if label not in known:
            yield f"`{written(part)}`: no series here has a label {label}{nearest(label, sorted(known))}"


def _labels_of_expression(rule: CompiledRule, of_alerts: frozenset[str]) -> frozenset[str]:
    return frozenset[str]().union(*(_labels_of(s.metric, of_alerts) for s in selectors(rule.expression.tree)))


def _labels_of(metric: str, of_alerts: frozenset[str]) -> frozenset[str]:
    if metric == ALERTS:
        return of_alerts | _SCRAPED
    if metric in BUCKET_GAUGE_BY_NAME:
        return _SCRAPED | {PARTICIPANT, POLICY}
    gauge = PARTICIPANT_GAUGE_BY_NAME.get(metric)
    return _SCRAPED | {PARTICIPANT, *(gauge.label_names if gauge else ())}


def _duplicates(groups: Sequence[ParsedGroup]) -> Iterator[Finding]:
    """Two rules of one name and labels are told apart by nothing: Prometheus fails on their series."""

    def identity(rule: ParsedRule) -> tuple[str, frozenset[tuple[str, str]]]:
        return rule.name, frozenset((name, text.text) for name, text in rule.labels.items())

    times = Counter(identity(rule) for group in groups for rule in group.rules)
    for group in groups:
        for rule in group.rules:
            if times[identity(rule)] > 1:
                message = "is there more than once with the same labels: their alerts are one and the same"
                yield Finding(group.file, rule.line, group.name, rule.name, message, "warning")

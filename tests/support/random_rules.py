"""Random rule files and series, and what our engine makes of them, as promtool test files."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import yaml

from exporter.alerts.alert import AlertState
from exporter.errors import RuleEvaluationFailed, RuleFileInvalid
from exporter.rules.files.loading import load
from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promtool.input_series import input_series
from exporter.rules.promtool.playback import Playback, play
from exporter.rules.templates.values import External
from tests.support.random_expressions import PARTICIPANTS, PER_BUCKET, PER_PARTICIPANT, POLICIES, Expressions, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from exporter.rules.promql.series import Vector

# None of these fails for any value: a failure is reported here in other words than Prometheus'. Durations and times of
# a size that no rule has are left out.
ANNOTATIONS = (
    "{{ $labels.policy }} of {{ $labels.participant }}",
    '{{ printf "%.1f" $value }}/{{ printf "%5.2e|%v|%s|%d" $value $value $value $value }}',
    "{{ $value | humanize }} {{ humanize1024 $value }} {{ humanizePercentage $value }}",
    "{{ if or (lt $value 1e15) (gt $value 1.7e308) }}{{ humanizeDuration $value }}{{ end }}",
    "{{ if gt $value 50.0 }}high{{ else if lt $value 0.0 }}negative{{ else }}low{{ end }}",
    '{{ if and (ge $value 1.0) (ne $labels.policy "A") }}x{{- end }} {{- /* gone */ -}} y',
    "{{ gt $value 50.0 }}",
    "{{ $labels.__name__ }} {{ .Labels.job }} {{ .Value }} {{ $labels.nothing }}",
    "{{ $labels }}",
    '{{ if or (eq $labels.policy "A" "B") (not $labels.job) }}{{ $labels.policy | toLower | printf "%q" }}{{ end }}',
    '{{ reReplaceAll "(.*):(.*)" "$2:${1}" $labels.instance }} {{ match "^1" $labels.participant }}',
    "{{ $labels.instance | stripPort | title }} {{ len $labels.policy }} {{ print $value true $labels.policy 1 2 }}",
    "{{ if and (ge $value 0.0) (lt $value 9e9) }}{{ humanizeTimestamp $value }}{{ end }}",
    "{{ $externalLabels.region }} {{ .ExternalLabels }} {{ $externalURL }} {{ .ExternalURL }}",
)
EXTERNAL = External({"region": "north", "a": "<b>"}, "https://prometheus.example/x")
SEVERITIES = ("info", "warning", "critical")
LABELS = (
    ("team", "tokens"),
    ("level", "{{ if ge $value 50.0 }}high{{ else }}low{{ end }}"),
    ("copy", "{{ $labels.policy }}"),
    ("job", ""),
    ("instance", "{{ .Labels.alertstate }}"),
    ("below", "{{ lt $value 1.0 }}"),
    ("worth", "{{ $value }}"),
    ("region", "{{ $externalLabels.region }}"),
)
RECORDED = (
    ("bucket", "bucket:tokens:max"),
    ("bucket", "bucket:rate:sum"),
    ("participant", "participant:up:min"),
    ("participant", "participant_policies"),
)
"""Kinds of expressions, and names that rules record such as."""

RECORDED_LABELS = (
    ("team", "tokens"),
    ("policy", "A"),
    ("job", ""),
    ("zone", "{{ $value }}"),
    ("instance", "c"),
    ("k", "v"),
)


@dataclass(frozen=True)
class GroupText:
    """What a group says of itself, but for its name."""

    labels: tuple[tuple[str, str], ...] = ()
    limit: int = 0
    query_offset: str = ""

    def document(self, index: int, rules: list[dict[str, Any]]) -> dict[str, Any]:
        document: dict[str, Any] = {"name": f"g{index}"}
        if self.labels:
            document["labels"] = dict(self.labels)
        if self.limit:
            document["limit"] = self.limit
        if self.query_offset:
            document["query_offset"] = self.query_offset
        return {**document, "rules": rules}


@dataclass(frozen=True)
class RuleText:
    """``group`` is the index of its group; one of a kind (of an expression) records."""

    group: int
    name: str
    expr: Tree
    for_: str
    keep_firing_for: str
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    is_recording: bool = False

    def document(self) -> dict[str, Any]:
        if self.is_recording:
            return {"record": self.name, "expr": self.expr.text, "labels": dict(self.labels)}
        document: dict[str, Any] = {"alert": self.name, "expr": self.expr.text}
        if self.for_:
            document["for"] = self.for_
        if self.keep_firing_for:
            document["keep_firing_for"] = self.keep_firing_for
        return {**document, "labels": dict(self.labels), "annotations": dict(self.annotations)}


@dataclass(frozen=True)
class Case:
    """``steps`` evaluations, ``evaluation_seconds`` apart; samples ``interval_seconds`` apart."""

    groups: tuple[GroupText, ...]
    rules: tuple[RuleText, ...]
    series: tuple[tuple[str, tuple[str, ...]], ...]
    interval_seconds: int
    evaluation_seconds: int
    steps: int

    def smaller(self) -> Iterator[Case]:
        """Yields cases with something left out."""
        for steps in (self.steps // 2, self.steps - 1):
            if 0 < steps < self.steps:
                yield replace(self, steps=steps)
        for index in range(len(self.rules)):
            yield replace(self, rules=_without(self.rules, index))
        for index, group in enumerate(self.groups):
            for smaller in _smaller_groups(group):
                yield replace(self, groups=(*self.groups[:index], smaller, *self.groups[index + 1 :]))
        for index in range(len(self.series)):
            yield replace(self, series=_without(self.series, index))
        for index, rule in enumerate(self.rules):
            for less in _smaller_rules(rule):
                yield replace(self, rules=(*self.rules[:index], less, *self.rules[index + 1 :]))
        yield from self._with_less_series()

    def _with_less_series(self) -> Iterator[Case]:
        for index, (name, values) in enumerate(self.series):
            if len(values) > 1:
                half = (name, values[: len(values) // 2])
                yield replace(self, series=(*self.series[:index], half, *self.series[index + 1 :]))

    def write(self, folder: Path, name: str) -> Outcome | None:
        """Writes the case's rule file and its test file, expectations filled in by our engine.

        Returns None where our engine refuses the rules.
        """
        rule_file = folder / f"{name}.rules.yml"
        rule_file.write_text(_yaml({"groups": [self._group(index) for index in range(len(self.groups))]}))
        try:
            rule_set = load([str(rule_file)])
        except RuleFileInvalid:
            return None
        step_ms = self.evaluation_seconds * 1000
        playback = play(
            [replace(rule, external=EXTERNAL) if rule.kind == "alerting" else rule for rule in rule_set.rules],
            [input_series(name, " ".join(values), self.interval_seconds * 1000) for name, values in self.series],
            until_ms=(self.steps - 1) * step_ms,
            interval_ms=step_ms,
        )
        test_file = folder / f"{name}.test.yml"
        test_file.write_text(_yaml(self._test_file(rule_file.name, playback)))
        return Outcome(test_file, playback)

    def _group(self, index: int) -> dict[str, Any]:
        return self.groups[index].document(index, [rule.document() for rule in self.rules if rule.group == index])

    def _test_file(self, rule_file: str, playback: Playback) -> dict[str, Any]:
        alert_tests = []
        # Something is asked for at the end, or promtool would not evaluate so far.
        ends_at = f"{(self.steps - 1) * self.evaluation_seconds}s"
        expression_tests = [{"expr": "vector(0)", "eval_time": ends_at, "exp_samples": [{"labels": "{}", "value": 0}]}]
        for step in range(self.steps):
            at_ms = step * self.evaluation_seconds * 1000
            for rule in self.rules:
                if not rule.is_recording:
                    alert_tests.append(_alert_test(rule.name, at_ms, playback))
                if playback.failed is None and step % 3 == 0:
                    expression_tests += _expression_test(rule.expr.text, at_ms, playback)
            if playback.failed is None:
                recorded = {rule.name for rule in self.rules if rule.is_recording}
                for name in sorted(ALERT_SERIES | recorded):
                    expression_tests += _expression_test(name, at_ms, playback)
        return {
            "rule_files": [rule_file],
            "evaluation_interval": f"{self.evaluation_seconds}s",
            "group_eval_order": [f"g{index}" for index in range(len(self.groups))],
            "tests": [
                {
                    "external_labels": EXTERNAL.labels,
                    "external_url": EXTERNAL.url,
                    "interval": f"{self.interval_seconds}s",
                    "input_series": [{"series": name, "values": " ".join(values)} for name, values in self.series],
                    "alert_rule_test": alert_tests,
                    "promql_expr_test": expression_tests,
                }
            ],
        }


@dataclass(frozen=True)
class Outcome:
    """``comparable``: whether the engines must agree where Prometheus finds several series in index of one.

    With more than one participant it does so as soon as any of them has
    something on the other side; an engine that looks at one at a time cannot know.
    """

    test_file: Path
    playback: Playback

    @property
    def comparable(self) -> bool:
        return len(self.playback.series) == 1


def random_case(random: Random) -> Case:
    names = tuple(f"Rule{index}" for index in range(random.choice((1, 1, 2, 3))))
    if random.random() < 0.15 and len(names) < len(SEVERITIES):
        names = (*names, names[0])
    severities = random.sample(SEVERITIES, len(names))  # all different: one name may be that of two rules
    if names[-1] == names[0] and len(names) > 1 and random.random() < 0.5:
        severities[-1] = severities[0]
    steps = random.choice((6, 10, 16))
    participants = PARTICIPANTS[: random.choice((1, 2, 2))]
    groups = tuple(_groups(random, random.choice((1, 1, 2, 3))))
    recorded = tuple(random.choice(RECORDED) for _ in range(random.choice((0, 0, 1, 2, 3))))
    offsets = {group.query_offset for group in groups}
    if len(offsets) > 1:  # promtool takes samples out of order, which Prometheus by itself does not
        recorded = tuple(dict.fromkeys(recorded))
    expressions = Expressions(random, names, recorded, alone=len(participants) == 1)
    rules = [
        _rule(random, index, random.randrange(len(groups)), name, severity, expressions)
        for index, (name, severity) in enumerate(zip(names, severities, strict=True))
    ]
    for kind, name in recorded:
        rule = _recording(random, random.randrange(len(groups)), kind, name, expressions)
        rules.insert(random.randrange(len(rules) + 1), rule)
    series = tuple(_series(random, steps, participants))
    if recorded and random.random() < 0.1 and offsets == {""}:
        name = random.choice(recorded)[1]
        text = f'{name}{{participant="{participants[0]}", policy="A"}}'
        series = (*series, (text, _values(random, steps, ("80", "100"))))
    return Case(
        groups=groups,
        rules=tuple(rules),
        series=series,
        interval_seconds=random.choice((15, 30, 60, 60)),
        evaluation_seconds=random.choice((15, 30, 60, 60, 75, 15, 30, 60, 60, 330)),
        steps=steps,
    )


def _groups(random: Random, count: int) -> Iterator[GroupText]:
    # Rules see alerts of groups with the same offset only.
    query_offset = random.choice(("", "", "", "15s", "1m", "100s", "6m"))
    for _ in range(count):
        yield GroupText(
            tuple(random.sample((("severity", "info"), *LABELS), random.choice((0, 0, 0, 1, 2)))),
            random.choice((0, 0, 0, 0, 0, 0, 0, 0, 2, 5)),
            query_offset if random.random() < 0.9 else "1m",
        )


def _recording(random: Random, group: int, kind: str, name: str, expressions: Expressions) -> RuleText:
    depth = random.choice((1, 2, 2, 3))
    expr = expressions.vector(kind, depth) if random.random() < 0.6 else expressions.condition()
    labels = tuple(random.sample(RECORDED_LABELS, random.choice((0, 0, 0, 1, 1, 2))))
    return RuleText(group, name, expr, "", "", labels, (), is_recording=True)


def _rule(random: Random, index: int, group: int, name: str, severity: str, expressions: Expressions) -> RuleText:
    labels = [("severity", severity), ("k", str(index))]
    labels += random.sample(LABELS, random.choice((0, 0, 1, 2)))
    chosen = random.sample(ANNOTATIONS, random.choice((0, 1, 2)))
    return RuleText(
        group,
        name,
        expressions.condition(),
        random.choice(("", "", "15s", "1m", "2m", "100s")),
        random.choice(("", "", "15s", "1m", "3m")),
        tuple(labels),
        (("value", "{{ $value }}"), *((f"a{index}", text) for index, text in enumerate(chosen))),
    )


def _series(random: Random, steps: int, participants: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    policies = POLICIES[: random.choice((1, 2, 3))]
    scraped = random.choice(("", ', job="dict", instance="a:1"', ', job="dict", instance="b.example:2"'))
    for participant in participants:
        for name in PER_PARTICIPANT:
            category = ', psp_category="A"' if name.endswith("info") else ""
            levels = ("1", "0") if not category else ("1",)
            if random.random() < 0.9:
                yield f'{name}{{participant="{participant}"{category}{scraped}}}', _values(random, steps, levels)
        for policy in policies:
            for name in PER_BUCKET:
                if random.random() < 0.85:
                    text = f'{name}{{participant="{participant}", policy="{policy}"{scraped}}}'
                    yield text, _values(random, steps, ("10", "50", "75", "79.75", "80", "90", "100", "0"))
    if random.random() < 0.1 and len(participants) == 1:
        name = random.choice(PER_BUCKET)
        yield f'{name}{{participant="11111111", policy="A", job="twice"}}', _values(random, steps, ("1", "100"))


def _values(random: Random, steps: int, levels: tuple[str, ...]) -> tuple[str, ...]:
    values: list[str] = []
    while len(values) < steps + 2:
        roll = random.random()
        if roll < 0.55:
            values += [random.choice(levels)] * random.choice((1, 2, 3, 5))
        elif roll < 0.7:
            values.append(f"{random.choice(levels)}{random.choice(('+', '-'))}{random.choice(('0.5', '7', '0.1'))}x3")
        elif roll < 0.8:
            values.append(random.choice(("_", "_x2", "_x7")))
        elif roll < 0.85:
            values.append("stale")
        elif roll < 0.92:
            values.append(random.choice(("NaN", "Inf", "-Inf", "-0", "1e308", "0.1", "1e-320")))
        else:
            values.append(random.choice(("-3.25", "2.5", "-2.5", "0.5", "123456789", "1e6")))
    return tuple(values)


def _smaller_groups(group: GroupText) -> Iterator[GroupText]:
    if group.labels:
        yield replace(group, labels=())
    if group.limit:
        yield replace(group, limit=0)
    if group.query_offset:
        yield replace(group, query_offset="")


def _smaller_rules(rule: RuleText) -> Iterator[RuleText]:
    if rule.for_:
        yield replace(rule, for_="")
    if rule.keep_firing_for:
        yield replace(rule, keep_firing_for="")
    for index in range(1, len(rule.labels)):
        yield replace(rule, labels=_without(rule.labels, index))
    for index in range(len(rule.annotations)):
        yield replace(rule, annotations=_without(rule.annotations, index))
    for less in rule.expr.smaller():
        yield replace(rule, expr=less)


def _without(items: tuple[Any, ...], index: int) -> tuple[Any, ...]:
    return (*items[:index], *items[index + 1 :])


def _expression_test(expr: str, at_ms: int, playback: Playback) -> list[dict[str, Any]]:
    try:
        samples = playback.query(expr, at_ms)
    except RuleEvaluationFailed:
        return []  # evaluated after all rules, it may find more alerts than the rule did
    if any(math.isnan(value) for _, _, value in samples):
        return []  # promtool cannot expect NaN
    return [{"expr": expr, "eval_time": f"{at_ms}ms", "exp_samples": _samples(samples)}]


def _alert_test(alert: str, at_ms: int, playback: Playback) -> dict[str, Any]:
    firing = [a for a in playback.alerts(at_ms) if a.name == alert and a.state is AlertState.FIRING]
    return {
        "eval_time": f"{at_ms}ms",
        "alertname": alert,
        "exp_alerts": [
            {
                "exp_labels": {name: text for name, text in a.labels.items() if name != "alertname"},
                "exp_annotations": dict(a.annotations),
            }
            for a in firing
        ],
    }


def _samples(samples: Vector) -> list[dict[str, Any]]:
    return [
        {"labels": _metric({"__name__": name, **dict(labels.pairs)}), "value": value} for name, labels, value in samples
    ]


def _metric(labels: dict[str, str]) -> str:
    inside = ", ".join(f"{name}={json.dumps(text)}" for name, text in labels.items() if name != "__name__")
    return f"{labels.get('__name__', '')}{{{inside}}}"


def _yaml(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=10_000)

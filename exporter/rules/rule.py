"""Rules, compiled: those that alert, and those that record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

from exporter.alerts.alert import Alert, RuleSample, Severity
from exporter.alerts.history import History
from exporter.alerts.written_series import WrittenSample
from exporter.buckets.bucket import PolicyName
from exporter.buckets.gauges import METRIC_NAMES, PARTICIPANT_GAUGE_BY_NAME
from exporter.buckets.observation import View
from exporter.errors import RuleEvaluationFailed
from exporter.rules.promql.alert_series import Unexpanded, active_seconds, alert_labels
from exporter.rules.promql.expression import Expression
from exporter.rules.promql.nodes import run
from exporter.rules.promql.selectors import predicate
from exporter.rules.promql.series import METRIC_NAME, Labels, Sample
from exporter.rules.promql.sources import ALERTS, ALERTS_FOR_STATE, Moment, Source, source_of
from exporter.rules.promql.traversal import selectors
from exporter.rules.templates.template import Template
from exporter.rules.templates.values import NOTHING_EXTERNAL, External

Kind = TypeVar("Kind", bound="CompiledRule")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class ShownSelector:
    """A selector of what polls show. Satisfies `exporter.alerts.rule.SeriesSelector`."""

    metric: str
    text: str
    _selects: Callable[[Labels], bool] = field(compare=False, repr=False)

    def has_series(self, view: View) -> bool:
        return any(self._selects(labels) for _, labels, _ in source_of(view).series(self.metric))


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRule:
    """What both kinds of rules have.

    ``line`` is that of its ``alert`` or ``record``. It looks at what was ``query_offset_ms`` before the evaluation; one
    with more alerts or series than ``limit`` fails (0: there is no limit). ``sees_alerts_by_time``: the alerts of other
    rules may be written at other times than its own. ``unexpanded`` are the labels of all rules that are templates.
    """

    group: str
    name: str
    expression: Expression
    lookback_ms: Mapping[str, int]
    file: str
    line: int
    limit: int = 0
    query_offset_ms: int = 0
    sees_alerts_by_time: bool = False
    unexpanded: Unexpanded = field(default_factory=dict, compare=False, repr=False)

    @property
    def expr(self) -> str:
        return self.expression.text

    def series_selectors(self) -> tuple[ShownSelector, ...]:
        """Returns the selectors of what polls show, each once.

        What only an event brings is left out: that it is missing is no sign of a mistake.
        """
        distinct: dict[str, ShownSelector] = {}
        for selector in selectors(self.expression.tree):
            gauge = PARTICIPANT_GAUGE_BY_NAME.get(selector.metric)
            if selector.metric in METRIC_NAMES and not (gauge is not None and gauge.of_an_event):
                matchers = ", ".join(map(str, selector.conditions))
                text = f"{selector.metric}{{{matchers}}}" if matchers else selector.metric
                distinct[text] = ShownSelector(selector.metric, text, predicate(selector.conditions))
        return tuple(distinct.values())

    def as_a(self, kind: type[Kind], **more: Any) -> Kind:
        """Returns a rule of another kind with all of this one that such a rule has, and more."""
        names = {field.name for field in fields(kind)}
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name in names}
        return kind(**(own | more))

    def moment(self, source: Source, alerts: Collection[Alert]) -> Moment:
        """Returns what the rule looks at."""
        return Moment(
            source,
            None if self.sees_alerts_by_time else alerts,
            self.unexpanded,
            evaluated_at_ms=source.now_ms - self.query_offset_ms,
        )

    def evaluated(
        self, of: Callable[[Sample], _Result], view: View, alerts: Collection[Alert], history: History | None
    ) -> list[_Result]:
        """Returns what the series of its expression are made into.

        Raises RuleEvaluationFailed, and nothing else, whatever is in the rule.
        """
        moment = self.moment(source_of(view, history), alerts)
        return run(lambda at: [of(sample) for sample in self.expression.vector.run(at)], moment)

    def has_data(self, view: View, policy: PolicyName | None) -> bool:
        return self.expression.vector.data.exists(source_of(view), policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledAlertingRule(CompiledRule):
    """Satisfies `exporter.alerts.rule.AlertingRule`. ``labels`` and ``annotations`` are templates."""

    kind: ClassVar[Literal["alerting"]] = "alerting"

    for_seconds: float
    keep_firing_for_seconds: float
    severity: Severity
    per_policy: bool
    labels: Mapping[str, Template]
    annotations: Mapping[str, Template]
    external: External = NOTHING_EXTERNAL

    @property
    def fixed_labels(self) -> dict[str, str]:
        return {name: template.text for name, template in self.labels.items() if template.is_constant}

    def written_by(self, alerts: Iterable[Alert], names: Collection[str]) -> Iterator[WrittenSample]:
        for alert in alerts:
            if ALERTS in names:
                yield WrittenSample(ALERTS, alert_labels(alert, self.unexpanded).pairs, 1.0)
            if ALERTS_FOR_STATE in names:
                without_state = alert_labels(alert, self.unexpanded, with_state=False)
                yield WrittenSample(ALERTS_FOR_STATE, without_state.pairs, active_seconds(alert))

    def evaluate(self, view: View, alerts: Collection[Alert], history: History | None = None) -> list[RuleSample]:
        """Returns the series that are true. Raises RuleEvaluationFailed, and nothing else, whatever is in the rule."""
        samples = self.evaluated(self._sample, view, alerts, history)
        if len(samples) > 1 and len({tuple(sorted(s.labels.items())) for s in samples}) < len(samples):
            raise RuleEvaluationFailed("vector contains metrics with the same labelset after applying alert labels")
        return samples

    def in_templates(self, sample: Sample) -> tuple[Mapping[str, str], float, External]:
        """Returns what the rule's texts know of a sample."""
        metric, series, value = sample
        labels = dict(series.pairs)
        return ({METRIC_NAME: metric, **labels} if metric else labels), value, self.external

    def _sample(self, sample: Sample) -> RuleSample:
        in_templates, value, _ = self.in_templates(sample)
        labels = {
            **dict(sample[1].pairs),
            **{name: template.expand(in_templates, value, self.external) for name, template in self.labels.items()},
            "alertname": self.name,
        }
        return RuleSample(
            labels={name: text for name, text in labels.items() if text},
            annotations={
                name: template.expand(in_templates, value, self.external) for name, template in self.annotations.items()
            },
            value=value,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRecordingRule(CompiledRule):
    """Satisfies `exporter.alerts.rule.RecordingRule`."""

    kind: ClassVar[Literal["recording"]] = "recording"

    labels: Mapping[str, str]

    def record(self, view: View, alerts: Collection[Alert], history: History | None = None) -> list[WrittenSample]:
        """Raises RuleEvaluationFailed, and nothing else, whatever is in the rule."""
        samples = self.evaluated(self._sample, view, alerts, history)
        if len({sample.pairs for sample in samples}) < len(samples):
            raise RuleEvaluationFailed("vector contains metrics with the same labelset after applying rule labels")
        if len(samples) > self.limit > 0:
            raise RuleEvaluationFailed(f"exceeded limit of {self.limit} with {len(samples)} series")
        try:
            "".join([text for sample in samples for pair in sample.pairs for text in pair]).encode()
        except UnicodeEncodeError:
            raise RuleEvaluationFailed("a label is not UTF-8") from None
        return samples

    def _sample(self, sample: Sample) -> WrittenSample:
        _, labels, value = sample
        return WrittenSample(self.name, (labels.replaced(self.labels.items()) if self.labels else labels).pairs, value)


AnyCompiledRule: TypeAlias = CompiledAlertingRule | CompiledRecordingRule


def unexpanded_labels(rules: Iterable[AnyCompiledRule]) -> Unexpanded:
    """Returns the labels of rules that are templates, as written."""
    templates: dict[tuple[str, Severity], list[Mapping[str, str]]] = defaultdict(list)
    for rule in rules:
        if rule.kind == "recording":
            continue
        written = {name: template.text for name, template in rule.labels.items() if not template.is_constant}
        templates[rule.name, rule.severity].append(written)
    return {key: of_rules for key, of_rules in templates.items() if any(of_rules)}

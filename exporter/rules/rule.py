"""One alerting rule, compiled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from exporter.alerts.alert import Alert, RuleSample, Severity
from exporter.alerts.history import History
from exporter.alerts.written_series import WrittenSample
from exporter.buckets.bucket import PolicyName
from exporter.buckets.observation import View
from exporter.errors import RuleEvaluationFailed
from exporter.rules.promql.expression import Expression
from exporter.rules.promql.series import METRIC_NAME, Sample
from exporter.rules.promql.sources import (
    ALERTS,
    ALERTS_FOR_STATE,
    PARTICIPANT_GAUGE_BY_NAME,
    Moment,
    Source,
    Unexpanded,
    active_seconds,
    alert_labels,
    source_of,
)
from exporter.rules.templates.template import Template
from exporter.rules.templates.values import NOTHING_EXTERNAL, External

Kind = TypeVar("Kind", bound="CompiledRule")


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """Satisfies `exporter.alerts.alert.Rule`.

    ``labels`` and ``annotations`` are templates, ``line`` is that of its ``alert``. It looks at what was
    ``query_offset_ms`` before the evaluation; one with more alerts than ``limit`` fails (0: there is no limit).
    ``sees_alerts_by_time``: the alerts of other rules may be written at other times than its own.
    ``unexpanded`` are the labels of all rules that are templates.
    """

    group: str
    name: str
    expression: Expression
    for_seconds: float
    keep_firing_for_seconds: float
    severity: Severity
    per_policy: bool
    lookback_ms: Mapping[str, int]
    labels: Mapping[str, Template]
    annotations: Mapping[str, Template]
    file: str
    line: int
    limit: int = 0
    query_offset_ms: int = 0
    sees_alerts_by_time: bool = False
    external: External = NOTHING_EXTERNAL
    unexpanded: Unexpanded = field(default_factory=dict, compare=False, repr=False)

    @property
    def expr(self) -> str:
        return self.expression.text

    @property
    def fixed_labels(self) -> dict[str, str]:
        return {name: template.text for name, template in self.labels.items() if template.is_constant}

    @property
    def looks_at_an_event(self) -> bool:
        """Whether it looks at a gauge that is absent until something happens: then silence is no sign of a mistake."""
        names = self.expression.vector.data.names()
        return any(gauge.of_an_event for name, gauge in PARTICIPANT_GAUGE_BY_NAME.items() if name in names)

    def as_a(self, kind: type[Kind], **more: Any) -> Kind:
        """Returns a rule of another kind with all that this one says, and more."""
        own = {field.name: getattr(self, field.name) for field in fields(CompiledRule)}
        return kind(**own, **more)

    def moment(self, source: Source, alerts: Collection[Alert]) -> Moment:
        """Returns what the rule looks at."""
        return Moment(
            source,
            None if self.sees_alerts_by_time else alerts,
            self.unexpanded,
            evaluated_at_ms=source.now_ms - self.query_offset_ms,
        )

    def written_by(self, alerts: Iterable[Alert], names: Collection[str]) -> Iterator[WrittenSample]:
        for alert in alerts:
            if ALERTS in names:
                yield WrittenSample(ALERTS, alert_labels(alert, self.unexpanded).pairs, 1.0)
            if ALERTS_FOR_STATE in names:
                without_state = alert_labels(alert, self.unexpanded, with_state=False)
                yield WrittenSample(ALERTS_FOR_STATE, without_state.pairs, active_seconds(alert))

    def evaluate(self, view: View, alerts: Collection[Alert], history: History | None = None) -> list[RuleSample]:
        """Returns the series that are true. Raises RuleEvaluationFailed, and nothing else, whatever is in the rule."""
        try:
            moment = self.moment(source_of(view, history), alerts)
            samples = [self._sample(sample) for sample in self.expression.vector.run(moment)]
        except RuleEvaluationFailed:
            raise
        except Exception as error:
            raise RuleEvaluationFailed(f"{type(error).__name__}: {error}") from error
        if len(samples) > 1 and len({tuple(sorted(s.labels.items())) for s in samples}) < len(samples):
            raise RuleEvaluationFailed("vector contains metrics with the same labelset after applying alert labels")
        return samples

    def has_data(self, view: View, policy: PolicyName | None) -> bool:
        return self.expression.vector.data.exists(source_of(view), policy)

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


def unexpanded_labels(rules: Iterable[CompiledRule]) -> Unexpanded:
    """Returns the labels of rules that are templates, as written."""
    templates: dict[tuple[str, Severity], list[Mapping[str, str]]] = defaultdict(list)
    for rule in rules:
        written = {name: template.text for name, template in rule.labels.items() if not template.is_constant}
        templates[rule.name, rule.severity].append(written)
    return {key: of_rules for key, of_rules in templates.items() if any(of_rules)}

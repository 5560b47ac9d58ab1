"""What an evaluation needs of rules, which `exporter.rules` makes from files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

from exporter.alerts.alert import Alert, RuleSample, Severity
from exporter.alerts.history import History
from exporter.alerts.written_series import WrittenSample
from exporter.buckets.bucket import PolicyName
from exporter.buckets.observation import View


class SeriesSelector(Protocol):
    """A selector of a rule, as it is written in short."""

    @property
    def text(self) -> str: ...
    def has_series(self, view: View) -> bool: ...


class _AnyRule(Protocol):
    @property
    def group(self) -> str: ...
    @property
    def name(self) -> str:
        """That of its alerts, or of the series that it records."""
        ...

    @property
    def lookback_ms(self) -> Mapping[str, int]:
        """How old the samples can be that it looks at, by metric, in milliseconds; of others it needs only now."""
        ...

    @property
    def limit(self) -> int:
        """The most alerts or series that it may have, of one participant; 0: any number."""
        ...

    @property
    def query_offset_ms(self) -> int:
        """How long before the evaluation it looks, in milliseconds; and the time of what it writes."""
        ...

    def series_selectors(self) -> Sequence[SeriesSelector]:
        """Returns the selectors of what polls show, each once, but of what only an event brings."""
        ...

    def has_data(self, view: View, policy: PolicyName | None) -> bool:
        """Whether the gauges that the rule looks at are there for the participant, or for one of its buckets.

        Tells an alert that recovered from one whose series vanished.
        """
        ...


class AlertingRule(_AnyRule, Protocol):
    """A rule that raises alerts."""

    @property
    def kind(self) -> Literal["alerting"]: ...
    @property
    def for_seconds(self) -> float: ...
    @property
    def keep_firing_for_seconds(self) -> float: ...
    @property
    def severity(self) -> Severity: ...
    @property
    def fixed_labels(self) -> Mapping[str, str]:
        """The labels that it gives to each of its alerts, whatever the sample."""
        ...

    @property
    def per_policy(self) -> bool:
        """Whether its alerts carry ``policy``."""
        ...

    def written_by(self, alerts: Iterable[Alert], names: Collection[str]) -> Iterator[WrittenSample]:
        """Yields the samples of ``ALERTS`` and ``ALERTS_FOR_STATE``, where these are ``names``, of its alerts."""
        ...

    def evaluate(self, view: View, alerts: Collection[Alert], history: History | None = None) -> list[RuleSample]:
        """Returns the series that are true for the view's participant, at the view's instant.

        ``alerts`` are that participant's open alerts, as ``ALERTS`` shows them to this rule; ``history`` is what was
        shown of it, the view itself included (None: nothing else). Raises `errors.RuleEvaluationFailed`.
        """
        ...


class RecordingRule(_AnyRule, Protocol):
    """A rule whose result is recorded as series of its name."""

    @property
    def kind(self) -> Literal["recording"]: ...
    @property
    def labels(self) -> Mapping[str, str]:
        """The labels that it sets; an empty one removes it."""
        ...

    def record(self, view: View, alerts: Collection[Alert], history: History | None = None) -> list[WrittenSample]:
        """Returns what it finds, as an alerting rule does. Raises `errors.RuleEvaluationFailed`."""
        ...


Rule: TypeAlias = AlertingRule | RecordingRule


def alerting(rules: Iterable[Rule]) -> list[AlertingRule]:
    """Returns those of the rules that raise alerts."""
    return [rule for rule in rules if rule.kind == "alerting"]

"""The series that rules record, as of each participant's last evaluation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client.metrics_core import Metric

from exporter.alerts.alert import RecordedValues
from exporter.metrics.exposition import Part
from exporter.metrics.families import Labels, number_text

SERVED_SECONDS: Final = 300.0
"""How long an evaluation is served that no other follows: as long as Prometheus sees what its own rules recorded."""


@dataclass(frozen=True, slots=True)
class _Evaluation:
    recorded: RecordedValues
    lines: dict[str, Part]
    served_until: float


class RecordedSeries:
    """Renders what rules record about each participant when they do. Used from one thread."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._evaluations: dict[str, _Evaluation] = {}

    def publish(self, participant: str, recorded: RecordedValues) -> None:
        """Serves what an evaluation has recorded, in place of what the one before has."""
        if not recorded:
            self._evaluations.pop(participant, None)
            return
        lines: dict[str, list[str]] = defaultdict(list)
        for (name, pairs), value in recorded.items():
            lines[name].append(f"{name}{Labels(**dict(pairs)).text} {number_text(value)}\n")
        parts = {name: Part("".join(of_name).encode()) for name, of_name in lines.items()}
        self._evaluations[participant] = _Evaluation(recorded, parts, self._monotonic() + SERVED_SECONDS)

    def remove(self, participant: str) -> None:
        self._evaluations.pop(participant, None)

    def clear(self) -> None:
        """Serves nothing until rules are evaluated again."""
        self._evaluations = {}

    def collect(self) -> Iterator[Metric]:
        """Yields the families, for prometheus_client's registry."""
        evaluations = self._served()
        for name in _names(evaluations):
            metric = _metric(name)
            for evaluation in evaluations:
                for (of_name, pairs), value in evaluation.recorded.items():
                    if of_name == name:
                        metric.add_sample(name, dict(pairs), value)
            yield metric

    def families(self) -> Iterator[tuple[Metric, list[Part]]]:
        """Yields each family without its samples, and the lines of these."""
        evaluations = self._served()
        for name in _names(evaluations):
            yield _metric(name), [evaluation.lines[name] for evaluation in evaluations if name in evaluation.lines]

    def _served(self) -> list[_Evaluation]:
        now = self._monotonic()
        return [evaluation for _, evaluation in sorted(self._evaluations.items()) if now < evaluation.served_until]


def _names(evaluations: list[_Evaluation]) -> list[str]:
    return sorted({name for evaluation in evaluations for name in evaluation.lines})


def _metric(name: str) -> Metric:
    return Metric(name, "Recorded by a rule.", "unknown")

"""Series sampled at an interval, in the notation of promtool's test files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from exporter.capture.time_of_day import is_timestamp
from exporter.numbers import not_finite
from exporter.rules.promql.series import Sample, format_series

_BLANK: Final = "_"
_STALE: Final = "stale"


@dataclass(slots=True)
class Samples:
    """``count`` samples of each series, run-length encoded.

    ``began_at`` (UTC) is the time of the first one: timestamps are written in seconds since then.
    """

    began_at: datetime
    count: int = 0
    _runs: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    def add(self, samples: Iterable[Sample]) -> None:
        """Adds the next sample of each series. A series that has ended becomes stale, as it would in Prometheus."""
        values = {format_series(name, labels): self._notation(name, value) for name, labels, value in samples}
        for series in values.keys() - self._runs.keys():
            self._runs[series] = [(_BLANK, self.count)] if self.count else []
        for series, runs in self._runs.items():
            value = values.get(series)
            if value is None:
                value = _BLANK if runs[-1][0] in {_BLANK, _STALE} else _STALE
            if runs and runs[-1][0] == value:
                runs[-1] = (value, runs[-1][1] + 1)
            else:
                runs.append((value, 1))
        self.count += 1

    def series(self) -> Mapping[str, str]:
        """Returns each series with its values in promtool's expanding notation."""
        return {series: " ".join(map(_run_notation, runs)) for series, runs in sorted(self._runs.items())}

    def _notation(self, name: str, value: float) -> str:
        if is_timestamp(name):
            value -= self.began_at.timestamp()
        if not math.isfinite(value):
            return not_finite(value).removeprefix("+")  # promtool reads Inf and -Inf
        return repr(value).removesuffix(".0")


def _run_notation(run: tuple[str, int]) -> str:
    value, count = run
    if count == 1:
        return value
    if value == _BLANK:
        return f"_x{count}"
    if value[-1].isdigit():
        return f"{value}x{count - 1}"
    return " ".join([value] * count)

"""What rules look back at, of one participant: what `/metrics` showed, and what rules made of it."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.alerts.written_series import WrittenSeries
from exporter.buckets.gauge_history import GaugeHistory
from exporter.buckets.gauges import METRIC_NAMES
from exporter.buckets.observation import View


def of_shown(kept_ms: Mapping[str, int]) -> dict[str, int]:
    """Returns how long what polls show is to be kept, in milliseconds."""
    return {name: ms for name, ms in kept_ms.items() if name in METRIC_NAMES}


def of_written(kept_ms: Mapping[str, int]) -> dict[str, int]:
    """Returns how long the series that rules write are to be kept, in milliseconds."""
    return {name: ms for name, ms in kept_ms.items() if name not in METRIC_NAMES}


class History:
    """``kept_ms`` is for how long the samples of which metrics are kept, in milliseconds.

    ``is_news``: what was added last is a sample.
    """

    __slots__ = ("gauges", "is_news", "written")

    def __init__(self, kept_ms: Mapping[str, int]) -> None:
        self.gauges = GaugeHistory(of_shown(kept_ms))
        self.written = WrittenSeries(of_written(kept_ms))
        self.is_news = True

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same of what is to be kept."""
        if not isinstance(other, History):
            return NotImplemented
        return self.gauges == other.gauges and self.written == other.written

    __hash__ = None  # type: ignore[assignment]

    def copy(self) -> History:
        """Returns a history of its own, to which other samples can be added."""
        other = self.as_it_is()
        other.gauges = self.gauges.copy()
        return other

    def as_it_is(self) -> History:
        """Returns what is known now: the gauges themselves, and a copy of what rules wrote."""
        other = History({})
        other.gauges, other.written, other.is_news = self.gauges, self.written.copy(), self.is_news
        return other

    def keep(self, kept_ms: Mapping[str, int]) -> None:
        """Keeps no more than that from now on."""
        self.gauges.keep(of_shown(kept_ms))
        self.written.keep(of_written(kept_ms))

    def add(self, view: View) -> None:
        """Adds what the view shows. Where the participant was removed, all is forgotten: that is another beginning.

        What is not seen whole shows nothing: what it leaves out need not be gone.
        """
        if view.poll.is_removal:
            self.written.clear()
        if not view.is_partial:
            self.is_news = self.gauges.add(view)

"""What rules of one group see of the alerts of another, whose ``query_offset`` is not the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from exporter.durations import Duration
from exporter.rules.files.parser import ParsedGroup
from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promql.traversal import alert_names, selectors
from exporter.rules.promql.tree import Selector, Tree


class QueryOffsets:
    """The groups of rule files: of each alert's name those whose rules raise it, where there are several offsets."""

    def __init__(self, groups: Sequence[ParsedGroup]) -> None:
        self._groups: dict[str, list[ParsedGroup]] = defaultdict(list)
        if len({group.query_offset_seconds for group in groups}) > 1:
            for group in groups:
                for name in {rule.name for rule in group.rules}:
                    self._groups[name].append(group)

    def problems(self, tree: Tree, group: ParsedGroup) -> Iterator[tuple[Selector, str]]:
        """Yields the selectors of an expression of the group that select alerts as they were at another time."""
        for selector in selectors(tree) if self._groups else ():
            selects = alert_names(selector)
            for name, groups in self._groups.items() if selector.metric in ALERT_SERIES else ():
                other = next((g for g in groups if g.query_offset_seconds != group.query_offset_seconds), None)
                if other is not None and selects(name):
                    offset, own = Duration(other.query_offset_seconds), Duration(group.query_offset_seconds)
                    why = f"{name} is in group {other.name}, whose query_offset is {offset}, and here it is {own}"
                    yield selector, f": {why}; {selector.metric} of another time is not supported"
                    break

"""``absent`` of series that are there at every poll."""

from __future__ import annotations

from typing import Final

from exporter.rules.lint.context import Context, Problems
from exporter.rules.lint.presence import Presence, presence
from exporter.rules.promql.calls import ABSENT
from exporter.rules.promql.tree import Call, walk

_POLLS: Final = ((True, True), (False, True), (False, False))
"""Whether they were answered, and whether figures are served."""


def check(context: Context) -> Problems:
    if context.rule.query_offset_ms:
        return
    for tree in walk(context.tree):
        if not isinstance(tree, Call) or tree.function not in ABSENT:
            continue
        situations = [context.situations.of(context.rule.name, up=up, figures=figures) for up, figures in _POLLS]
        if all(presence(tree.arguments[0], situation) is Presence.ALWAYS for situation in situations):
            why = "it is served after every poll, answered or not, and rules are evaluated at polls"
            yield context.about(tree, f" is never true: {why}; `dict_rate_limit_up == 0` tells of an outage")

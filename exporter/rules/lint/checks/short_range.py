"""A range that holds fewer samples than its function needs."""

from __future__ import annotations

from typing import Final

from exporter.durations import Duration
from exporter.rules.lint.context import Context, Problems
from exporter.rules.promql.time_shifts import length
from exporter.rules.promql.tree import Call, Range, walk, without_parens

_OF_TWO: Final = frozenset({"delta", "deriv", "idelta", "increase", "irate", "predict_linear", "rate"})
"""Functions that give nothing of a single sample."""


def check(context: Context) -> Problems:
    interval_seconds = context.installation.poll_interval_seconds
    for call in walk(context.tree):
        for argument in call.operands if isinstance(call, Call) else ():
            selected = without_parens(argument)
            if not isinstance(selected, Range) or selected.selector.mode is not None:
                continue
            seconds = length(selected.range).seconds
            polls = f"of a poll each {Duration(interval_seconds)}"
            if isinstance(call, Call) and call.function in _OF_TWO and seconds < 2 * interval_seconds:
                why = f"{call.function} needs two; a range of {Duration(4 * interval_seconds)} always has them"
                yield context.about(selected, f" holds one sample {polls}, or two: {why}")
            elif seconds < interval_seconds:
                yield context.about(selected, f" holds one sample {polls} at most: take a longer range, or none")

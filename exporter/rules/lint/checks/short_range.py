"""A range that holds fewer samples than its function needs."""

from __future__ import annotations

from typing import Final

from exporter.durations import Duration
from exporter.rules.lint.context import Context, Problems
from exporter.rules.promql.time_shifts import length
from exporter.rules.promql.tree import Call, Range, walk, without_parens

_OF_TWO: Final = frozenset(
    [
        "changes",
        "delta",
        "deriv",
        "idelta",
        "increase",
        "irate",
        "predict_linear",
        "rate",
        "resets",
        "stddev_over_time",
        "stdvar_over_time",
    ]
)
"""Functions that give nothing of a single sample, or always 0."""


def check(context: Context) -> Problems:
    interval_seconds = context.installation.poll_interval_seconds
    for call in walk(context.tree):
        if not isinstance(call, Call):
            continue
        for argument in call.arguments:
            selected = without_parens(argument)
            if not isinstance(selected, Range) or selected.selector.mode is not None:
                continue
            seconds = length(selected.range).seconds
            at_most = "one sample" if seconds <= interval_seconds else "one sample or two"
            needs = 2 if call.function in _OF_TWO else 1
            if seconds < needs * interval_seconds:
                polls, enough = Duration(interval_seconds), Duration(4 * interval_seconds)
                why = f" holds {at_most} of polls every {polls}, but for reads between"
                need = f": {call.function} needs two" if needs > 1 else ""
                yield context.about(selected, f"{why}{need}; {enough} hold enough, one failed poll aside")

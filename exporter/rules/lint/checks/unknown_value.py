"""A matcher on a value that its label cannot have: a policy, a participant, a category, an outcome that is none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from exporter.buckets.gauges import METRIC_NAMES
from exporter.rules.golang import full_match, quote
from exporter.rules.lint.alternatives import unmatched_alternatives
from exporter.rules.lint.context import Context, Problems
from exporter.rules.lint.known_values import Values
from exporter.rules.promql.series import POLICY
from exporter.rules.promql.tree import Matcher

_WORD: Final = re.compile(r"\w+", re.ASCII)

_MOST_NAMED: Final = 3
"""Of the alternatives of one regular expression."""


def check(context: Context) -> Problems:
    rules, installation = context.rules, context.installation
    for selected in context.selected:
        labels = rules.labels_of(selected)
        for matcher in selected.conditions:
            values = installation.values(selected.metric, matcher.label, rules.written)
            if values is None or matcher.label not in labels:
                continue
            if matcher.label == POLICY and any(_wrong(matcher, values, selected.metric)):
                values = installation.all_policies
            for why in _wrong(matcher, values, selected.metric):
                yield context.about(matcher, why)


def _wrong(matcher: Matcher, values: Values, metric: str) -> Iterator[str]:
    value, excludes = matcher.value, matcher.operator in {"!=", "!~"}
    effect = "excludes nothing" if excludes else "selects nothing"
    is_pattern = matcher.operator in {"=~", "!~"}
    if not value:
        if not excludes and not values.has("") and metric in METRIC_NAMES:
            yield f" {effect}: every series of {metric} has a {matcher.label}"
    elif not is_pattern or _WORD.fullmatch(value):
        if not values.has(value):
            yield f" {effect}: {quote(value)} {values.none_of(value)}"
    elif values.match(value) or full_match(value)(""):
        unmatched = list(unmatched_alternatives(value, values.match))
        for alone in unmatched[:_MOST_NAMED]:
            yield f": {quote(alone)} {values.none_of(alone)}"
        if len(unmatched) > _MOST_NAMED:
            yield f": {len(unmatched) - _MOST_NAMED:,} more of its alternatives match no {values.kind}"
    else:
        yield f" {effect}: it matches no {values.kind}{values.more}"

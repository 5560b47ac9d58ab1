"""A selector that asks for a label which only Prometheus' scrape adds."""

from __future__ import annotations

from exporter.rules.lint.context import SCRAPED_LABELS, Context, Problems
from exporter.rules.promql.expression import expression_text


def check(context: Context) -> Problems:
    for selected in context.selected:
        for matcher in selected.matchers:
            if matcher.label in SCRAPED_LABELS and not matcher.predicate()(""):
                why = f"{matcher.label} is what Prometheus' scrape adds, and no series of this program has it"
                subject = f"`{expression_text(selected.tree)}`"
                yield context.line_of(selected.tree), f"{subject} selects nothing here: {why}"

"""A selector that asks for a label which only Prometheus' scrape adds."""

from __future__ import annotations

from typing import Final

from exporter.rules.lint.context import SCRAPED_LABELS, Context, Problem, Problems
from exporter.rules.promql.expression import expression_text

NAME: Final = "lint/scraped_label"


def check(context: Context) -> Problems:
    for selected in context.selected:
        for matcher in selected.matchers:
            if matcher.label in SCRAPED_LABELS and not matcher.predicate()(""):
                why = f"{matcher.label} is what Prometheus' scrape adds, and no series of this program has it"
                yield Problem(
                    context.line_of(selected.tree), f"`{expression_text(selected.tree)}` selects nothing here: {why}"
                )

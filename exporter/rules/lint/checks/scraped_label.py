"""A selector that asks for a label which only Prometheus' scrape adds."""

from __future__ import annotations

from exporter.rules.lint.all_rules import SCRAPED_LABELS
from exporter.rules.lint.context import Context, Problems


def check(context: Context) -> Problems:
    for selected in context.selected:
        if selected.metric in context.rules.recording:  # a rule may have set it
            continue
        for matcher in selected.conditions:
            if matcher.label in SCRAPED_LABELS and not matcher.predicate()(""):
                why = f"{matcher.label} is what Prometheus' scrape adds, and no series of this program has it"
                yield context.about(selected, f" selects nothing here: {why}")

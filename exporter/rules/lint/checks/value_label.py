"""A label whose template depends on `$value`: each value makes another alert."""

from __future__ import annotations

from typing import Final

from exporter.rules.lint.context import Context, Problem, Problems

NAME: Final = "lint/value_label"


def check(context: Context) -> Problems:
    for name, template in context.rule.labels.items():
        if template.uses_value:
            yield Problem(
                context.parsed.labels[name].line,
                f"label {name}: `{template.text}` depends on $value, so that another value makes another alert",
            )

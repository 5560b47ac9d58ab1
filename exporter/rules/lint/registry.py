"""All checks, by name, in the order in which their findings at one line are reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from exporter.rules.lint.checks import (
    duplicate_rule,
    empty_template_label,
    impossible_comparison,
    outage_branch,
    runbook,
    scraped_label,
    stale_threshold,
    unknown_label,
    value_label,
)
from exporter.rules.lint.context import Context, Problems

Check: TypeAlias = "Callable[[Context], Problems]"

CHECKS: Final[dict[str, Check]] = {
    runbook.NAME: runbook.check,
    outage_branch.NAME: outage_branch.check,
    stale_threshold.NAME: stale_threshold.check,
    impossible_comparison.NAME: impossible_comparison.check,
    unknown_label.NAME: unknown_label.check,
    scraped_label.NAME: scraped_label.check,
    value_label.NAME: value_label.check,
    empty_template_label.NAME: empty_template_label.check,
    duplicate_rule.NAME: duplicate_rule.check,
}

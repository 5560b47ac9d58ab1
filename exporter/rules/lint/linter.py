"""All checks, run on rule files that were loaded, but for those that comments disable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Final

from exporter.rules.files.loading import Attempt
from exporter.rules.finding import Finding
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
from exporter.rules.lint.comments import disabled_checks, read_comments
from exporter.rules.lint.context import Context, Problems, contexts
from exporter.structures import did_you_mean

CHECKS: Final[dict[str, Callable[[Context], Problems]]] = {
    f"lint/{check.__module__.rpartition('.')[2]}": check
    for check in (
        runbook.check,
        outage_branch.check,
        stale_threshold.check,
        impossible_comparison.check,
        unknown_label.check,
        scraped_label.check,
        value_label.check,
        empty_template_label.check,
        duplicate_rule.check,
    )
}
"""By name, which is that of its module, in the order in which their findings at one line are reported."""

UNKNOWN_CHECK: Final = "lint/unknown_check"


def findings(attempt: Attempt) -> list[Finding]:
    """Returns errors (what keeps the files from loading) and warnings, by file and line."""
    return sorted([*attempt.errors, *_warnings(attempt)], key=attrgetter("file", "line"))


def warnings(attempt: Attempt) -> list[Finding]:
    """Returns what the checks find, by file and line."""
    return sorted(_warnings(attempt), key=attrgetter("file", "line"))


def _warnings(attempt: Attempt) -> Iterator[Finding]:
    disabled = {}
    for file, groups in groupby(attempt.groups, key=attrgetter("file")):
        comments = read_comments(attempt.contents[file].decode())
        disabled[file] = disabled_checks(comments, list(groups))
        for comment in comments:
            for name in comment.names:
                if name not in CHECKS:
                    meant = did_you_mean(name if "/" in name else f"lint/{name}", CHECKS)
                    message = f"a comment disables `{name}`, which is no check{meant}"
                    yield Finding(file, comment.line, "", "", message, "warning", UNKNOWN_CHECK)
    for context in contexts(attempt):
        group, rule = context.group, context.parsed
        scopes = (0, group.line, rule.first_line)
        silent = frozenset[str]().union(*(disabled[group.file].get(line, frozenset()) for line in scopes))
        for name, check in CHECKS.items():
            if name not in silent:
                for line, message in check(context):
                    yield Finding(group.file, line, group.name, rule.name, message, "warning", name)

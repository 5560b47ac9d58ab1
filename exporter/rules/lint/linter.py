"""All checks, run on rule files that were loaded, but for those that comments disable.

``# dict-rate-limit: disable lint/runbook, lint/value_label`` above or within a rule or a group is about that;
above ``groups:`` it is about the whole file.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final

import yaml

from exporter.rules.files.loading import Attempt
from exporter.rules.files.parser import ParsedGroup
from exporter.rules.finding import Finding, Location
from exporter.rules.lint.checks import (
    duplicate_rule,
    empty_template_label,
    impossible_comparison,
    never_absent,
    never_resolves,
    no_condition,
    no_samples,
    outage_branch,
    record_name,
    record_template,
    regular_expression,
    runbook,
    scraped_label,
    short_for,
    short_range,
    stale_threshold,
    unit,
    unknown_alert,
    unknown_label,
    unknown_value,
    unmatched_sides,
    value_label,
)
from exporter.rules.lint.context import Context, Problems, contexts
from exporter.rules.lint.known_values import ANY_INSTALLATION, Installation
from exporter.structures import did_you_mean

CHECKS: Final[dict[str, Callable[[Context], Problems]]] = {
    f"lint/{check.__module__.rpartition('.')[2]}": check
    for check in (
        runbook.check,
        outage_branch.check,
        stale_threshold.check,
        never_resolves.check,
        no_condition.check,
        impossible_comparison.check,
        unit.check,
        unmatched_sides.check,
        never_absent.check,
        no_samples.check,
        short_range.check,
        short_for.check,
        unknown_alert.check,
        unknown_label.check,
        unknown_value.check,
        regular_expression.check,
        scraped_label.check,
        value_label.check,
        empty_template_label.check,
        duplicate_rule.check,
        record_name.check,
        record_template.check,
    )
}
"""By name, which is that of its module, in the order in which their findings at one line are reported."""

UNKNOWN_CHECK: Final = "lint/unknown_check"

_BEGIN: Final = re.compile(r"(?<!\S)#")
_DISABLE: Final = re.compile(r"#[ \t]*dict-rate-limit:[ \t]*disable\b(?P<names>.*)")
_WHOLE_FILE: Final = 0


def findings(attempt: Attempt, installation: Installation = ANY_INSTALLATION) -> list[Finding]:
    """Returns errors (what keeps the files from loading) and warnings, by file and line."""
    return sorted([*attempt.errors, *warnings(attempt, installation)], key=attrgetter("file", "line", "column"))


def warnings(attempt: Attempt, installation: Installation = ANY_INSTALLATION) -> list[Finding]:
    """Returns what the checks find, by file and line."""
    # What is wrong with a group's label is found at each of its rules.
    return sorted(dict.fromkeys(_warnings(attempt, installation)), key=attrgetter("file", "line", "column"))


def _warnings(attempt: Attempt, installation: Installation) -> Iterator[Finding]:
    disabled = {}
    for file, groups in groupby(attempt.groups, key=attrgetter("file")):
        comments = read_comments(attempt.contents[file].decode())
        disabled[file] = _disabled_checks(comments, list(groups))
        for comment in comments:
            for name in comment.names:
                if name not in CHECKS:
                    meant = did_you_mean(name if "/" in name else f"lint/{name}", CHECKS)
                    message = f"a comment disables `{name}`, which is no check{meant}"
                    yield Finding(file, comment.line, "", "", message, "warning", UNKNOWN_CHECK)
    for context in contexts(attempt, installation):
        group, rule = context.group, context.parsed
        scopes = (_WHOLE_FILE, group.line, rule.first_line)
        silent = frozenset[str]().union(*(disabled[group.file].get(line, frozenset()) for line in scopes))
        for name, check in CHECKS.items():
            if name not in silent:
                for location, message in _problems(check, context):
                    line, column = location.line, location.column
                    subject = "" if group.has_label_at(line) else rule.name
                    yield Finding(group.file, line, group.name, subject, message, "warning", name, column)


def _problems(check: Callable[[Context], Problems], context: Context) -> list[tuple[Location, str]]:
    try:
        return list(check(context))
    except RecursionError:
        return [(Location(context.parsed.line), "is too long, or too deep, for this check")]


@dataclass(frozen=True, slots=True)
class Comment:
    """``subject`` is the line of what it is about: its own, or that of the entry below it."""

    line: int
    subject: int
    names: tuple[str, ...]


def read_comments(text: str) -> list[Comment]:
    """Returns the comments that disable checks in a text that is YAML."""
    comments: list[Comment] = []
    if not _DISABLE.search(text):
        return comments
    lines = text.splitlines()
    for index, line in enumerate(_without_scalars(text).splitlines()):
        begin = _BEGIN.search(line)
        match = _DISABLE.match(line, begin.start()) if begin is not None else None
        if match is not None:
            names = tuple(name.strip() for name in match["names"].split(","))
            comments.append(Comment(index + 1, _subject(lines, index, match.start()) + 1, names))
    return comments


def _disabled_checks(comments: Sequence[Comment], groups: Sequence[ParsedGroup]) -> Mapping[int, frozenset[str]]:
    """Returns the names of checks by the line that a rule or group of the file begins in; 0: of the whole file."""
    begins = sorted({line for group in groups for line in (group.line, *(rule.first_line for rule in group.rules))})
    names: dict[int, frozenset[str]] = defaultdict(frozenset)
    for comment in comments:
        index = bisect_right(begins, comment.subject)
        names[begins[index - 1] if index else _WHOLE_FILE] |= frozenset(comment.names)
    return names


def _without_scalars(text: str) -> str:
    """Returns the text with an ``x`` for each character of its scalars: what looks like a comment in there is none."""
    result, position = "", 0
    for token in yaml.scan(text, Loader=yaml.CSafeLoader):
        if isinstance(token, yaml.ScalarToken):
            begin = token.start_mark.index
            if token.style in {"|", ">"}:  # a comment may follow the sign
                begin = text.find("\n", begin) + 1 or len(text)
            if begin < (end := token.end_mark.index):
                result += text[position:begin] + re.sub(r"\S", "x", text[begin:end])
                position = end
    return result + text[position:]


def _subject(lines: Sequence[str], index: int, column: int) -> int:
    """Returns the index of the line that a comment is about.

    One on a line of its own is about the next entry, or, where it is indented further, about the one above it.
    """
    if lines[index][:column].strip():
        return index
    following = next((line for line in range(index + 1, len(lines)) if _has_content(lines[line])), index)
    indent = len(lines[following]) - len(lines[following].lstrip())
    return index if indent < column else following


def _has_content(line: str) -> bool:
    return line.strip() not in {"", "-"} and not line.lstrip().startswith("#")

"""Comments that disable checks: ``# dict-rate-limit: disable lint/runbook, lint/value_label``.

One above or within a rule or a group is about that; one above ``groups:`` is about the whole file.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import yaml

from exporter.rules.files.parser import ParsedGroup

_BEGIN: Final = re.compile(r"(?<!\S)#")
_DISABLE: Final = re.compile(r"#[ \t]*dict-rate-limit:[ \t]*disable\b(?P<names>.*)")
_WHOLE_FILE: Final = 0


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


def disabled_checks(comments: Sequence[Comment], groups: Sequence[ParsedGroup]) -> Mapping[int, frozenset[str]]:
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

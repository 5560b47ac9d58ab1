"""What libyaml says of a text that is not YAML, in words for the text's author."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from exporter.errors import YamlInvalid

NOT_UTF8: Final = "it holds what is not text in UTF-8"

_MEANINGS: Final = (
    (
        "mapping values are not allowed",
        "a text that holds `: ` is written in quotes, or this line is indented too far",
    ),
    ("did not find expected node content", "a [ or { is not closed, or a text that begins so is not in quotes"),
    ("did not find expected ',' or", "a [ or { is not closed, or a text that begins so is not in quotes"),
    ("could not find expected ':'", "a key without its colon, or a text of several lines that is not in quotes"),
    ("did not find expected key", "this line is not indented as those that it belongs to"),
    ("did not find expected '-' indicator", "this line is not indented as those that it belongs to"),
    ("found unexpected end of stream", "a quote is not closed"),
    ("found unknown escape character", 'a \\ in "..." that escapes nothing; write it twice, or use single quotes'),
)
"""How libyaml's message begins, and what that means."""


def translated(error: yaml.YAMLError, text: str = "") -> YamlInvalid:
    """Returns PyYAML's error without any value of ``text``: one of them may be a secret."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return YamlInvalid(NOT_UTF8, message=f"is not YAML: {NOT_UTF8}")
    problem = _in_own_words(problem, text, mark)
    if "is not closed" in problem:
        mark = getattr(error, "context_mark", None) or mark
    line, column = mark.line + 1, mark.column + 1
    return YamlInvalid(problem, line, column=column, message=f"is not YAML: line {line}, column {column}: {problem}")


def _in_own_words(problem: str, text: str, mark: Any) -> str:
    if problem.startswith("found character that cannot start any token"):
        line = (text.splitlines() or [""])[mark.line : mark.line + 1]
        character = line[0][mark.column : mark.column + 1] if line else ""
        if character == "\t":
            return "a tab cannot indent; write spaces"
        return f"a text that begins with {character} is written in quotes"
    for beginning, meaning in _MEANINGS:
        if problem.startswith(beginning):
            return meaning
    # Quoted text may be a part of a secret.
    return re.sub(r"'([^']*)'", lambda quoted: quoted[0] if len(quoted[1]) < 2 else "'...'", problem)

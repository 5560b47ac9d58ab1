"""Regular expressions as Go reads them: RE2, anchored at both ends."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import re2

if TYPE_CHECKING:
    from collections.abc import Callable

_QUIET: Final = re2.Options()
_QUIET.log_errors = False

_NOT_FOR_GO: Final = re.compile(r"(?:[^\\\[]|\\[^C]|\[\^?+\]?+(?:[^\]\\]|\\[^C])*\])*?(?P<what>\\C|\(\?<)", re.DOTALL)
r"""What the C++ library knows and Go does not: ``\C``, and (before Go 1.22) ``(?<name>``."""

_GO_WORDS: Final = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "trailing \\": "trailing backslash at end of expression: ``",
    "bad repetition operator": "invalid nested repetition operator",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid named capture group": "invalid named capture",
    "invalid perl operator": "invalid or unsupported Perl syntax",
}
"""What the library says of a fault, and what Go says."""


def compiled(pattern: str) -> Any:
    """Returns the compiled expression, unanchored. Raises ValueError, in Go's words."""
    foreign = _NOT_FOR_GO.match(pattern)
    if foreign and foreign["what"] == "\\C":
        raise ValueError("error parsing regexp: invalid escape sequence: `\\C`")
    if foreign:
        raise ValueError("error parsing regexp: invalid or unsupported Perl syntax: `(?<`")
    try:
        return re2.compile(pattern, _QUIET)
    except re2.error as error:
        raise ValueError(f"error parsing regexp: {_in_go_words(error)}") from None


def full_match(pattern: str) -> Callable[[str], bool]:
    """Returns whether a label's value matches as a whole. Raises ValueError as `compiled`."""
    compiled(pattern)  # on its own: `a)|(b` is only wrong without the anchors
    search = compiled(f"^(?:{pattern})$").search

    @lru_cache(maxsize=4096)
    def matches(value: str) -> bool:
        return search(value) is not None

    return matches


def _in_go_words(error: re2.error) -> str:
    told = error.args[0].decode(errors="replace") if error.args else "cannot be compiled"
    fault, colon, where = told.partition(": ")
    return _GO_WORDS.get(fault, fault) + (f": `{where}`" if colon else "")

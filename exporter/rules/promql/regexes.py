"""Regular expressions as Go reads them: RE2, anchored at both ends."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import re2

_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False

_NOT_FOR_GO: Final = re.compile(r"(?:[^\\\[]|\\[^C]|\[\^?+\]?+(?:[^\]\\]|\\[^C])*\])*?(?P<what>\\C|\(\?<)", re.DOTALL)
r"""What the C++ library accepts and Go does not: ``\C``, and (before Go 1.22) ``(?<name>``."""


def compile_pattern(pattern: str) -> Any:
    """Returns the compiled expression, unanchored. Raises ValueError; its message is a sentence."""
    foreign = _NOT_FOR_GO.match(pattern)
    if foreign:
        raise ValueError(f"error parsing regexp: invalid or unsupported Perl syntax: {foreign['what']}")
    try:
        return re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        why = error.args[0].decode(errors="replace") if error.args else "cannot be compiled"
        raise ValueError(f"error parsing regexp: {why}") from None


def full_match(pattern: str) -> Callable[[str], bool]:
    """Returns a function that tells whether a whole value matches. Raises ValueError as `compile_pattern`."""
    compile_pattern(pattern)  # alone: `a)|(b` is only wrong without the anchors
    search = compile_pattern(f"^(?:{pattern})$").search

    @lru_cache(maxsize=4096)
    def matches(value: str) -> bool:
        return search(value) is not None

    return matches

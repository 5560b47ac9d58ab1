"""Texts, numbers and regular expressions as Go has them."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import re2

from exporter.numbers import not_finite

_ESCAPES: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\", '"': '\\"',
}  # fmt: skip


def quote(text: str) -> str:
    """Returns a string literal."""
    return '"' + "".join(_escape(character) for character in text) + '"'


def shortest(value: float) -> str:
    """Returns the fewest digits that give the value back; 1000000 is 1e+06."""
    if not math.isfinite(value):
        return not_finite(value)
    digits = _significant_digits(value)
    text = f"{value:.{digits - 1}e}"
    exponent = int(text.partition("e")[2])
    return f"{value:.{max(digits - 1 - exponent, 0)}f}" if -4 <= exponent < 6 else text


def fixed(value: float) -> str:
    """Returns the fewest digits that give the value back, without an exponent: 1500000, 0.0000015."""
    if not math.isfinite(value):
        return not_finite(value)
    text = format(Decimal(repr(value)), "f")
    return text.removesuffix(".0")


def exponential(value: float) -> str:
    """Returns the fewest digits that give the value back, always with an exponent: 1.5E+00."""
    return f"{value:.{_significant_digits(value) - 1}E}" if math.isfinite(value) else not_finite(value)


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_WITHIN_WORDS: Final = frozenset(
    ".:'\u00b7\u2018\u2019\u2024\u2027\u0387\u055f\u05f4\ufe13\ufe52\ufe55\uff07\uff0e\uff1a"
)
"""Unicode's word-break classes MidLetter, MidNumLet and Single_Quote."""

_CONTINUE_WORDS: Final = frozenset("LMN") | {"Pc", "Cf"}
"""Categories of Unicode, or their first letters: letters, marks, digits, underscores, formats."""


def title(text: str) -> str:
    """Returns the text with the first cased letter of each word as a capital, the others as they are.

    Words are those of golang.org/x/text/cases: one of ``.:'`` and the like does not end a word, two do.
    """
    result, in_word, before = "", False, ""
    for character in text:
        if before in _WITHIN_WORDS and character in _WITHIN_WORDS:
            in_word = False
        if character.isupper() or character.islower() or character.istitle():
            result += character if in_word else character.title()
            in_word = True
        else:
            category = unicodedata.category(character)
            ends = character not in _WITHIN_WORDS and _CONTINUE_WORDS.isdisjoint((category, category[0]))
            in_word = in_word and not ends
            result += character
        before = character
    return result


def _significant_digits(value: float) -> int:
    return len(repr(value).partition("e")[0].lstrip("-").replace(".", "").strip("0")) or 1


_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False

_NOT_FOR_GO: Final = re.compile(
    r"(?:[^\\\[]|\\Q.*?(?:\\E|\Z)|\\[^CQ]|\[\^?+\]?+(?:[^\]\\]|\\[^C])*\])*?(?P<what>\\C|\(\?P?<(?![0-9A-Za-z_]+>))",
    re.DOTALL,
)
r"""What the C++ library accepts and Go does not: ``\C``, and groups whose names are not plain."""


def duration(milliseconds: int) -> str:
    """Returns a duration as Go writes it: 1h0m0s, 1m15s, 1.5s, 20ms."""
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    hours, minutes_left = divmod(minutes, 60)
    return f"{f'{hours}h' if hours else ''}{f'{minutes_left}m' if minutes else ''}{seconds}s"


def is_utf_8(text: str) -> bool:
    """Returns whether a text is one, and has no lone surrogates, which stand for other bytes."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def compile_pattern(pattern: str) -> Any:
    """Returns the compiled expression, unanchored. Raises ValueError; its message is a sentence."""
    foreign = _NOT_FOR_GO.match(pattern)
    if foreign:
        raise ValueError(f"error parsing regexp: invalid or unsupported Perl syntax: {foreign['what']}")
    if not is_utf_8(pattern):
        raise ValueError("error parsing regexp: it is not UTF-8")
    try:
        return re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        why = error.args[0].decode(errors="replace") if error.args else "cannot be compiled"
        raise ValueError(f"error parsing regexp: {why}") from None


def full_match(pattern: str) -> Callable[[str], bool]:
    """Returns a function that tells whether a whole value matches. Raises ValueError as `compile_pattern`."""
    compile_pattern(pattern)  # alone: `a)|(b` is only wrong without the anchors
    search = compile_pattern(f"^(?s:{pattern})$").search
    return lru_cache(maxsize=4096)(lambda value: search(value) is not None)


def expand(replacement: str, match: Any, names: Mapping[str, int]) -> str:
    """Returns a replacement with the groups of a match in place of ``$1``, ``${1}``, ``$name``; ``$$`` is a dollar."""

    def group(reference: re.Match[str]) -> str:
        if reference["dollar"]:
            return "$"
        name = reference["braced"] or reference["plain"]
        index = int(name) if _GROUP_NUMBER.fullmatch(name) else names.get(name)
        return (match.group(index) or "") if index is not None and index <= match.re.groups else ""

    return _GROUP_REFERENCE.sub(group, replacement)


_GROUP_REFERENCE: Final = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<braced>\w+)\}|(?P<plain>\w+))")
_GROUP_NUMBER: Final = re.compile(r"0|[1-9][0-9]?")

"""Texts and numbers as Go's strconv writes them."""

from __future__ import annotations

import math
from typing import Final

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


def _significant_digits(value: float) -> int:
    return len(repr(value).partition("e")[0].lstrip("-").replace(".", "").strip("0")) or 1

"""Numbers, durations and strings as they are written in an expression, and what they stand for."""

from __future__ import annotations

import math
import re
from typing import Final

_DIGITS: Final = "[0-9]+(?:_[0-9]+)*"
_DECIMAL: Final = rf"(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?"
_HEXADECIMAL: Final = r"0[xX]_?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*"
_EXPONENT: Final = r"0[xX]_?[0-9a-fA-F][eE]"
"""Prometheus takes an `e` in second place for that of an exponent, behind which a sign belongs to the number."""

_ALMOST: Final = r"""\.?[0-9](?:[0-9]|\.(?![_.])|[eE][+-]?(?![._eE]|\Z)|_(?![._eE]|\Z))*
    | 0[xX]_? | 0[xX]_?[0-9a-fA-F][eE][+-][0-9a-fA-F_]*"""
"""What looks like a number until its value is asked for."""

NUMBERS: Final = rf"""
    (?P<number> (?!{_EXPONENT}(?:[._eE]|\Z))
        (?:{_DECIMAL} | (?!{_EXPONENT}[+-]){_HEXADECIMAL} | {_ALMOST})(?![0-9A-Za-z_.]) )
  | (?P<duration> \.?[0-9][0-9._]*[smhdwy]s?(?:[0-9]+[smhdw]s?)*(?![0-9A-Za-z_]) )
  | (?P<bad_number> \.?[0-9])"""
_ESCAPE: Final = r"""\\(?: [abfnrtv\\] | [0-3][0-7]{2} | x[0-9a-fA-F]{2}
    | u(?![dD][89a-fA-F])[0-9a-fA-F]{4} | U(?!0000[dD][89a-fA-F])(?:000[0-9a-fA-F]|0010)[0-9a-fA-F]{4} )"""
STRINGS: Final = rf"""
    (?P<string> "(?:[^"\\\n\ufffd]|\\"|{_ESCAPE})*" | '(?:[^'\\\n\ufffd]|\\'|{_ESCAPE})*' | `[^`\ufffd]*` )
  | (?P<bad_string> ["'`] )"""

_NUMBER: Final = re.compile(rf"{_DECIMAL}|{_HEXADECIMAL}")
_OCTAL: Final = re.compile(r"0_?[0-7]+(?:_[0-7]+)*")
_LARGEST_INTEGER: Final = 2**63 - 1


def number_value(literal: str) -> float:
    """Returns the value of a number as Go reads it. Raises ValueError, a sentence, where it is none or too large."""
    digits = literal.replace("_", "").lower()
    if digits in {"inf", "nan"}:
        return float(digits)
    if not _NUMBER.fullmatch(literal):
        raise ValueError(f"`{literal}` is no number")
    base = 16 if digits.startswith("0x") else 8 if _OCTAL.fullmatch(literal) else 10
    if base != 10 and (integer := int(digits, base)) <= _LARGEST_INTEGER:
        return float(integer)
    value = float(digits) if base != 16 else math.inf
    if math.isinf(value):
        raise ValueError(f"`{literal}` is too large a number")
    return value


def string_value(literal: str) -> str:
    """Returns what a string literal stands for; bytes that are not UTF-8 as lone surrogates."""
    if literal[0] == "`":
        return literal[1:-1]
    data = re.sub(
        rb"\\(?:x(..)|u(....)|U(.{8})|([0-7]{3})|(.))", _unescaped, literal[1:-1].encode(errors="surrogateescape")
    )
    return data.decode(errors="surrogateescape")


_ESCAPES: Final = {
    b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v",
}  # fmt: skip


def _unescaped(match: re.Match[bytes]) -> bytes:
    byte, short, long, octal, character = match.groups()
    if byte or octal:
        return bytes([int(byte, 16) if byte else int(octal, 8)])
    if short or long:
        return chr(int(short or long, 16)).encode()
    return _ESCAPES.get(character, character)


def string_fault(expression: str, begin: int) -> str:
    quote = expression[begin]
    rest = re.compile(rf"(?:[^\\{quote}]|\\.)*", re.DOTALL).match(expression, begin + 1)
    content = rest[0] if rest is not None else ""
    if "\ufffd" in content:
        return "a string that is not UTF-8"
    if quote == "`":
        return "unexpected end of a string that is not closed"
    escape = re.search(rf"\\(?!{quote})(?!{_ESCAPE[2:]})(?:.|\Z)", content, re.DOTALL | re.VERBOSE)
    if escape is not None and "\n" not in content[: escape.start()]:
        return f"`{escape[0]}` is no escape that a string knows; a backslash is written twice"
    return "unexpected end of a string that is not closed"

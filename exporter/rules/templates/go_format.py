"""Values as Go's fmt prints them."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporter.numbers import not_finite
from exporter.rules.templates.values import type_name

if TYPE_CHECKING:
    from exporter.rules.templates.values import Value

_VERB: Final = re.compile(
    r"%(?P<flags>[-+0 ]*)(?P<width>[1-9][0-9]{0,3})?(?:\.(?P<precision>[0-9]{0,4}))?(?P<verb>.?)", re.DOTALL
)

_VERBS: Final = frozenset("vsqdfFeEgGt%")

_ESCAPES: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\",
}  # fmt: skip


def printed(value: Value) -> str:
    """Returns the value as ``%v``."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{name}:{value[name]}" for name in sorted(value)) + "]"
    return shortest(value) if isinstance(value, float) else str(value)


def joined(values: list[Value]) -> str:
    """Returns the values as ``Sprint``: a space between two that are both no text."""
    text = ""
    for place, value in enumerate(values):
        if place and not isinstance(value, str) and not isinstance(values[place - 1], str):
            text += " "
        text += printed(value)
    return text


def quoted(text: str) -> str:
    """Returns a Go string literal."""
    return _quoted(text, '"')


def shortest(number: float) -> str:
    """Returns the fewest digits that give the number back; 1000000 is 1e+06."""
    if not math.isfinite(number):
        return not_finite(number)
    sign, digits, exponent = _decimal(number)
    if not -4 <= exponent < 6:
        rest = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{rest}e{exponent:+03d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    digits = digits.ljust(exponent + 1, "0")
    tail = digits[exponent + 1 :]
    return sign + digits[: exponent + 1] + (f".{tail}" if tail else "")


def exponential(number: float) -> str:
    """Returns the fewest digits that give the number back, always with an exponent: 1.5E+00."""
    if not math.isfinite(number):
        return not_finite(number)
    sign, digits, exponent = _decimal(number)
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}E{exponent:+03d}"


def unsupported_verb(template: str) -> str | None:
    """Returns the first part of a ``printf`` format that is not supported here."""
    for match in _VERB.finditer(template):
        if match["verb"] and match["verb"] not in _VERBS:
            return match[0]
    return None


def formatted(template: str, values: list[Value]) -> str:
    """Returns ``Sprintf(template, values...)``, complaints about mismatches included."""
    left = list(values)

    def replaced(match: re.Match[str]) -> str:
        verb = match["verb"]
        if verb == "%":
            return "%"
        if not verb:
            return "%!(NOVERB)"
        if not left:
            return f"%!{verb}(MISSING)"
        precision = match["precision"]
        given = _Verb(
            verb, match["flags"], int(match["width"] or 0), None if precision is None else int(precision or 0)
        )
        return given.applied(left.pop(0))

    text = _VERB.sub(replaced, template)
    if left:
        text += "%!(EXTRA " + ", ".join(f"{type_name(v)}={printed(v)}" for v in left) + ")"
    return text


@dataclass(frozen=True, slots=True)
class _Verb:
    verb: str
    flags: str
    width: int
    precision: int | None

    def applied(self, value: Value) -> str:
        if isinstance(value, dict):
            return "map[" + " ".join(f"{self.applied(n)}:{self.applied(value[n])}" for n in sorted(value)) + "]"
        if isinstance(value, str) and self.verb in "vsq":
            cut = value if self.precision is None else value[: self.precision]
            return self._padded(_quoted(cut, '"', only_ascii="+" in self.flags) if self.verb == "q" else cut)
        if isinstance(value, bool):
            if self.verb in "vt":
                return self._padded(printed(value))
        elif isinstance(value, float) and self.verb in "vfFeEgG":
            return self._padded(self._float(value), signed=math.isfinite(value), zeros=math.isfinite(value))
        elif isinstance(value, int) and self.verb in "vdq":
            return self._character(value) if self.verb == "q" else self._integer(value)
        plain = "g" if isinstance(value, float) else "v" if isinstance(value, str | bool) else "d"
        as_v = _Verb(plain, self.flags, self.width, self.precision)
        return f"%!{self.verb}({type_name(value)}={as_v.applied(value)})"

    def _character(self, code: int) -> str:
        character = chr(code) if 0 <= code <= sys.maxunicode and not 0xD800 <= code < 0xE000 else "\ufffd"
        return self._padded(_quoted(character, "'", only_ascii="+" in self.flags))

    def _integer(self, number: int) -> str:
        """A precision is the least number of digits, and leaves filling up to spaces."""
        if self.precision == 0 and number == 0:
            return " " * self.width
        sign = "-" if number < 0 else ""
        digits = f"{abs(number):0{self.precision or 0}d}"
        return self._padded(self._signed(sign + digits), signed=True, zeros=self.precision is None)

    def _float(self, number: float) -> str:
        if not math.isfinite(number):
            text = not_finite(number)
            return text if number < 0 or (number > 0 and " " not in self.flags) else self._signed(text.lstrip("+"))
        verb = "g" if self.verb == "v" else self.verb
        if verb in "gG" and self.precision is None:
            text = shortest(number)
        else:
            text = f"%.{6 if self.precision is None else self.precision}{verb}" % number
        return self._signed(text.upper() if verb in "EG" else text)

    def _signed(self, text: str) -> str:
        if text[0] == "-":
            return text
        return ("+" if "+" in self.flags and self.verb != "v" else " " if " " in self.flags else "") + text

    def _padded(self, text: str, *, signed: bool = False, zeros: bool = True) -> str:
        if "-" in self.flags:
            return text.ljust(self.width)
        if "0" in self.flags and zeros:
            sign = text[0] if signed and text[0] in "+- " else ""
            return sign + text[len(sign) :].rjust(self.width - len(sign), "0")
        return text.rjust(self.width)


def _decimal(number: float) -> tuple[str, str, int]:
    """Returns sign, significant digits and exponent: d.ddd x 10^exponent."""
    mantissa, _, exponent = repr(number).partition("e")
    sign = "-" if mantissa[0] == "-" else ""
    whole, _, part = mantissa.lstrip("-").partition(".")
    digits = (whole + part).lstrip("0")
    if not digits:
        return sign, "0", 0
    return sign, digits.rstrip("0"), int(exponent or 0) + len(digits) - len(part) - 1


def _quoted(text: str, quote: str, *, only_ascii: bool = False) -> str:
    return quote + "".join(_escaped(c, quote, only_ascii=only_ascii) for c in text) + quote


def _escaped(character: str, quote: str, *, only_ascii: bool) -> str:
    if character == quote:
        return "\\" + quote
    known = _ESCAPES.get(character)
    if known is not None:
        return known
    if character.isprintable() and (character.isascii() or not only_ascii):
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

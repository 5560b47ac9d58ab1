"""Values of templates, and how ``print`` and ``printf`` write them.

Python's own types stand for Go's string, float64, int, bool and map[string]string.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from exporter.numbers import not_finite
from exporter.rules.golang import quote, shortest

Value: TypeAlias = "str | float | int | bool | dict[str, str]"


class External(NamedTuple):
    """What is the same for all alerts: the external labels, and the address of the program that evaluates the rules."""

    labels: Mapping[str, str]
    url: str


NOTHING_EXTERNAL: Final = External({}, "")


VERBS: Final = frozenset("vsqdfegt%")

_DIRECTIVE: Final = re.compile(
    r"%(?P<flags>[-+0]*)(?P<width>[1-9][0-9]{0,2})?(?:\.(?P<precision>[0-9]{1,3}))?(?P<verb>.?)", re.DOTALL
)
_WITHOUT_SIGN: Final = frozenset("sqt")
_WITHOUT_PRECISION: Final = frozenset("dqt")


class FunctionFailed(ValueError):
    """A function of templates cannot use its arguments."""


def type_name(value: Value) -> str:
    """Returns the name of Go's type."""
    return {str: "string", float: "float64", int: "int", bool: "bool", dict: "map[string]string"}[type(value)]


def format_value(value: Value) -> str:
    """Returns the value as ``%v``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{name}:{value[name]}" for name in sorted(value)) + "]"
    return shortest(value) if isinstance(value, float) else str(value)


def sprint(*values: Value) -> str:
    """Returns the values as ``print``: a space between two that are both no text."""
    text = ""
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            text += " "
        text += format_value(value)
    return text


def unsupported_directive(template: str) -> str | None:
    """Returns the first directive of a format that is not supported here."""
    for match in _DIRECTIVE.finditer(template):
        verb = match["verb"]
        if (
            (verb and verb not in VERBS)
            or ("+" in match["flags"] and verb in _WITHOUT_SIGN)
            or (match["precision"] and verb in _WITHOUT_PRECISION)
        ):
            return match[0]
    return None


def sprintf(template: str, *values: Value) -> str:
    """Returns what ``printf`` writes, with Go's complaints where values and verbs do not fit each other."""
    remaining = list(values)

    def replace(match: re.Match[str]) -> str:
        verb = match["verb"]
        if verb == "%":
            return "%"
        if not verb:
            return "%!(NOVERB)"
        return _format(match, remaining.pop(0)) if remaining else f"%!{verb}(MISSING)"

    text = _DIRECTIVE.sub(replace, template)
    if remaining:
        text += "%!(EXTRA " + ", ".join(f"{type_name(value)}={format_value(value)}" for value in remaining) + ")"
    return text


def _format(directive: re.Match[str], value: Value) -> str:
    flags, width, verb = directive["flags"], int(directive["width"] or 0), directive["verb"]
    precision = None if directive["precision"] is None else int(directive["precision"])
    if isinstance(value, str) and verb in "vsq":
        text = quote(value) if verb == "q" else value[:precision]
    elif isinstance(value, bool) and verb in "vt":
        text = format_value(value)
    elif isinstance(value, float) and verb in "vfeg":
        text = _format_float(value, verb, precision)
    elif isinstance(value, int) and not isinstance(value, bool) and verb in "vd":
        text = str(value)
    elif isinstance(value, dict) and verb in "vs":
        return format_value(value)
    else:
        return f"%!{verb}({type_name(value)}={format_value(value)})"
    if "+" in flags and verb in "dfeg" and text[0] not in "+-":
        text = f"+{text}"
    if "-" in flags:
        return text.ljust(width)
    is_finite = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return text.zfill(width) if "0" in flags and is_finite else text.rjust(width)


def _format_float(value: float, verb: str, precision: int | None) -> str:
    if not math.isfinite(value):
        return not_finite(value)
    if verb in "vg" and precision is None:
        return shortest(value)
    return f"%.{6 if precision is None else precision}{'g' if verb == 'v' else verb}" % value

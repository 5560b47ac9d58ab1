"""What templates handle: Python's own types stand for Go's string, float64, int, bool and map[string]string."""

from __future__ import annotations

from typing import TypeAlias

Value: TypeAlias = "str | float | int | bool | dict[str, str]"


class CallFailed(Exception):
    """A function refused its arguments, in Go's words."""


def type_name(value: Value) -> str:
    """Returns the name of Go's type."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, dict):
        return "map[string]string"
    return {str: "string", float: "float64", int: "int"}[type(value)]


def truth(value: Value) -> bool:
    """Zero, empty and false are not true; NaN is."""
    return bool(value)

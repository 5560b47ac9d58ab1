"""Values of templates: Python's own types stand for Go's string, float64, int, bool and map[string]string."""

from __future__ import annotations

from typing import TypeAlias

Value: TypeAlias = "str | float | int | bool | dict[str, str]"


class FunctionFailed(ValueError):
    """A function of templates cannot use its arguments."""


def type_name(value: Value) -> str:
    """Returns the name of Go's type."""
    return {str: "string", float: "float64", int: "int", bool: "bool", dict: "map[string]string"}[type(value)]

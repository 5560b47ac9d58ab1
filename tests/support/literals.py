"""The parameters of a statement, read by PostgreSQL's driver as the statement casts them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from psycopg.adapt import Transformer
from psycopg.postgres import types
from psycopg.pq import Format

from exporter.store.database import queries

if TYPE_CHECKING:
    from collections.abc import Mapping


def read(literal: str, type_name: str = "text") -> list[Any]:
    """Returns the values of an array literal."""
    values: list[Any] = Transformer().get_loader(types[type_name].array_oid, Format.TEXT).load(literal.encode())
    return values


def columns(statement: str, parameters: Mapping[str, str] | None) -> dict[str, list[Any]]:
    """Returns what the writer's ``statement`` is given; asserts that it is given what it names, and nothing else."""
    casts = dict(re.findall(r"%\((\w+)\)s::(\w+)\[\]", queries("writer")[statement].decode()))
    assert parameters is not None
    assert parameters.keys() == casts.keys()
    # The driver does not know SQL's ``int`` by that name.
    return {name: read(literal, re.sub("^int$", "int4", casts[name])) for name, literal in parameters.items()}

"""The JSON Schema of the configuration file, for editors and validators."""

from __future__ import annotations

from inspect import cleandoc
from typing import Any, get_type_hints

import msgspec

from exporter.config.secrets import Secret, masked
from exporter.config.settings import Section, Settings, default_of
from exporter.durations import Duration


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema of the configuration file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dict-rate-limit configuration",
        **_section_schema(Settings),
    }


def _section_schema(section: type[Section]) -> dict[str, Any]:
    hints = get_type_hints(section, include_extras=True)
    properties = {}
    for field in msgspec.structs.fields(section):
        kind = hints[field.name]
        if isinstance(kind, type) and issubclass(kind, Section):
            properties[field.name] = _section_schema(kind)
        else:
            described = msgspec.json.schema(kind, schema_hook=_schema)
            properties[field.name] = {**described, "default": masked(default_of(field))}
    description = {"description": cleandoc(section.__doc__)} if section.__doc__ else {}
    return {"type": "object", **description, "properties": properties, "additionalProperties": False}


def _schema(kind: type) -> dict[str, Any]:
    if kind is Duration:
        return {
            "type": "string",
            "pattern": "^([0-9]+(ms|[smhdwy]))+$|^0$",
            "description": "as in Prometheus: 15s, 1h30m",
        }
    if kind is Secret:
        return {"type": "string", "description": "a secret; better set from the environment or a file"}
    raise NotImplementedError(kind)

"""Settings from the environment: which variables set which keys, to what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, get_args

from exporter.config.secrets import Secret, SecretFile
from exporter.config.settings import keys
from exporter.errors import ConfigurationError
from exporter.structures import nearest

ENVIRONMENT_PREFIX: Final = "DICT_RATE_LIMIT_"


class Override(NamedTuple):
    """A variable, and the raw value that it gives to a key of type ``kind``; None: the value is unusable."""

    variable: str
    kind: Any
    value: Any


def overrides(environment: Mapping[str, str]) -> tuple[dict[tuple[str, ...], Override], list[str]]:
    """Returns the keys that the environment sets, by path, and what is wrong with its variables."""
    # An empty variable is not set: Compose files and units pass on variables without a value.
    variables = {name: text for name, text in environment.items() if text}
    overridden: dict[tuple[str, ...], Override] = {}
    names: set[str] = set()
    problems: list[str] = []
    for path, kind, default in keys():
        variable = ENVIRONMENT_PREFIX + "__".join(path).upper()
        names.add(variable)
        if variable in variables:
            text: Any = variables[variable]
            if isinstance(default, tuple):
                text = [item.strip() for item in text.split(",") if item.strip()]
            elif isinstance(default, dict):
                text = _labels(variable, text, problems)
            overridden[path] = Override(variable, kind, text)
        if Secret in (kind, *get_args(kind)):
            names.add(f"{variable}_FILE")
            if f"{variable}_FILE" in variables:
                secret = _secret_from_file(variable, variables, problems)
                overridden[path] = Override(f"{variable}_FILE", kind, secret)
    unknown = (name for name in environment if name.startswith(ENVIRONMENT_PREFIX) and name not in names)
    problems += [_no_such_setting(name, names) for name in unknown]
    return overridden, problems


def _no_such_setting(variable: str, names: set[str]) -> str:
    meant = nearest(variable.removeprefix(ENVIRONMENT_PREFIX), [n.removeprefix(ENVIRONMENT_PREFIX) for n in names])
    hint = f"did you mean {ENVIRONMENT_PREFIX}{meant}?" if meant else ".env.example lists them all"
    return f"{variable}: no such setting; {hint}"


def _secret_from_file(variable: str, variables: Mapping[str, str], problems: list[str]) -> Secret | None:
    if variable in variables:
        problems.append(f"{variable} and {variable}_FILE are both set; keep one")
        return None
    try:
        file = SecretFile(f"{variable}_FILE", variables[f"{variable}_FILE"])
    except ConfigurationError as error:
        problems += error.problems
        return None
    return Secret(file.text(), file)


def _labels(variable: str, text: str, problems: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for item in filter(None, map(str.strip, text.split(","))):
        name, separator, value = map(str.strip, item.partition("="))
        if not separator:
            problems.append(f"{variable}: {item!r} is not a label; write name=value, several with commas")
            continue
        if name in labels:
            problems.append(f"{variable}: {name} is set twice")
        labels[name] = value
    return labels

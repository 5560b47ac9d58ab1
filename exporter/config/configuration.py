"""Settings put together: the file, then the environment, then flags, with all that is wrong in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from exporter import files, yaml_text
from exporter.config.secrets import Secret, SecretFile
from exporter.config.settings import Settings, keys
from exporter.config.validation import Problem, problems
from exporter.durations import Duration, parse_duration
from exporter.errors import ConfigurationError, YamlInvalid
from exporter.structures import Reader, key_of, nearest, wrong_type
from exporter.yaml_text import Document

ENVIRONMENT_PREFIX: Final = "DICT_RATE_LIMIT_"


def variable_of(key: str) -> str:
    """Returns the environment variable that sets a key, such as ``bridge.target``."""
    return ENVIRONMENT_PREFIX + key.upper().replace(".", "__")


class Configuration:
    """The settings, where each value comes from, and all that is wrong with them.

    A key whose value is wrong has its default in ``settings``.
    """

    def __init__(self, file: Path | None, environment: Mapping[str, str]) -> None:
        """Reads both. Raises ConfigurationError where the file cannot be read, or is not YAML."""
        self.problems: list[str] = []
        self._file = file
        self._document = Document(None, None) if file is None else read_document(file)
        self._origins: dict[str, str] = {}  # variables and flags by key
        self._wrong: set[str] = set()
        self.problems += [f"{file}:{repeated}" for repeated in self._document.repeated()]
        raw = {} if self._document.value is None else self._document.value
        reader = Reader(_decode)
        self.settings = reader.struct(Settings, raw)
        self._add_mistakes(reader)
        if not isinstance(raw, dict):
            self.validated()  # further problems would be about nothing
        self._override(environment)
        self.add(problems(self.settings))

    def add(self, problems: Iterable[Problem]) -> None:
        """Adds problems, but not of values that already have one."""
        for problem in problems:
            involved = (problem.key, *problem.others)
            if not any(self.is_wrong(key) for key in involved):
                self._wrong.add(problem.key)
                origin = next(filter(None, map(self._origin, involved)), str(self._file or ""))
                self._add(origin, problem.key, problem.message)

    def override(self, key: str, value: Any, *, flag: str) -> None:
        """Sets a key as a flag says."""
        self.settings = _replaced(self.settings, tuple(key.split(".")), value)
        self._origins[key] = flag

    def is_set(self, key: str) -> bool:
        """Returns whether a key, or one of a section's, is set anywhere, and not left to its default."""
        return bool(self._origin(key)) or any(name.startswith(f"{key}.") for name in self._origins)

    def is_wrong(self, key: str) -> bool:
        """Returns whether there is a problem with the key's value, or with a section that it is in."""
        return any(key == wrong or key.startswith(f"{wrong}.") for wrong in self._wrong)

    def validated(self) -> Settings:
        """Returns the settings. Raises ConfigurationError with all that is wrong."""
        if self.problems:
            raise ConfigurationError(*self.problems)
        return self.settings

    def _origin(self, key: str) -> str:
        """Returns where a key has its value from: a flag, a variable, or file and line; nothing for a default."""
        if key in self._origins:
            return self._origins[key]
        line = self._document.line_of(key.split("."))
        return "" if line is None else f"{self._file}:{line}"

    def _add(self, origin: str, key: str, message: str) -> None:
        self.problems.append(": ".join(filter(None, (origin, key, message))))

    def _add_mistakes(self, reader: Reader, variable: str = "") -> None:
        for mistake in reader.mistakes:
            self._wrong.add(".".join(name for name in mistake.path if isinstance(name, str)))
            line = self._document.line_of(mistake.path) or 1
            self._add(variable or f"{self._file}:{line}", key_of(mistake.path), mistake.message)

    def _override(self, environment: Mapping[str, str]) -> None:
        overridden, unusable = _overrides(environment)
        self.problems += unusable
        for path, (variable, kind, raw) in overridden.items():
            reader = Reader(_decode, from_text=True)
            value = reader.value(kind, raw, path)
            key = ".".join(path)
            self._origins[key] = variable
            self._wrong.discard(key)
            self._add_mistakes(reader, variable)
            if value is None:
                self._wrong.add(key)
            elif not reader.mistakes:
                self.settings = _replaced(self.settings, path, value)


def load_settings(file: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Returns the settings of ``file`` (none: defaults), overridden by the environment.

    Raises ConfigurationError with all that is wrong: file and line or variable, key, and what is wrong with it.
    """
    return Configuration(file, os.environ if environment is None else environment).validated()


def read_document(file: Path) -> Document:
    """Returns a YAML file's document. Raises ConfigurationError naming the file, and the line that is not YAML."""
    try:
        return yaml_text.document(files.read(file))
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from error
    except YamlInvalid as error:
        raise ConfigurationError(f"{file}:{error.after_file_name}") from None


def _decode(kind: type, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    if kind is Duration:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise ValueError(f"{value!r} is not a duration; write it with its unit, as in 15s")
        if not isinstance(value, str):
            raise ValueError(wrong_type(value, "a duration, as in 15s"))
        return Duration(parse_duration(value))
    if isinstance(value, str):
        return Secret(value)
    raise ValueError(wrong_type(value, "a secret as text, in quotes"))


def _replaced(section: Any, path: tuple[str, ...], value: Any) -> Any:
    name, *rest = path
    if rest:
        value = _replaced(getattr(section, name), tuple(rest), value)
    return msgspec.structs.replace(section, **{name: value})


def _overrides(environment: Mapping[str, str]) -> tuple[dict[tuple[str, ...], tuple[str, Any, Any]], list[str]]:
    """Returns the keys that the environment sets, by path, and what is wrong with its variables.

    Of each key: the variable, the key's type, and the raw value; None: the value is unusable.
    """
    # An empty variable is not set: Compose files and units pass on variables without a value.
    variables = {name: text for name, text in environment.items() if text}
    overridden: dict[tuple[str, ...], tuple[str, Any, Any]] = {}
    names: set[str] = set()
    problems: list[str] = []
    for path, kind, default in keys():
        variable = variable_of(".".join(path))
        names.add(variable)
        if variable in variables:
            text: Any = variables[variable]
            if isinstance(default, tuple):
                text = [item.strip() for item in text.split(",") if item.strip()]
            elif isinstance(default, dict):
                text = _labels(variable, text, problems)
            overridden[path] = (variable, kind, text)
        if Secret in (kind, *get_args(kind)):
            names.add(f"{variable}_FILE")
            if f"{variable}_FILE" in variables:
                overridden[path] = (f"{variable}_FILE", kind, _secret_from_file(variable, variables, problems))
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

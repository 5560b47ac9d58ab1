"""Plain values, as YAML has them, converted to structs: every mistake is reported, in words for the file's author."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

T = TypeVar("T", bound=msgspec.Struct)
Path = tuple[str | int, ...]
"""Names of keys, and indexes of items."""

_SIMILARITY: Final = 0.75
"""How similar two names are, of 1, where one may be meant by the other."""

_MIN_PREFIX: Final = 3
"""Characters that a shortened name has at least."""

_MOST_COMPARED: Final = 500
"""Among more names none is hinted at: each rule of a big file may have a slip, and each would take long."""

_MAX_NAMES: Final = 12
_MAX_QUOTED: Final = 60
_TYPES: Final = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a section",
    NoneType: "empty",
}
_EXPECTED: Final = {int: "a whole number", float: "a number", bool: "true or false", dict: "keys with values"}


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with the value at ``path``. Empty: with the whole."""

    path: Path
    message: str


def key_of(path: Iterable[str | int]) -> str:
    """Returns a path as people write it: ``feed.targets[0]``."""
    return "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in path).removeprefix(".")


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns which of ``names`` is meant by a misspelt or shortened one, or nothing."""
    names = list(names)
    longer = [one for one in names if len(name) >= _MIN_PREFIX and one.lower().startswith(name.lower())]
    if len(longer) == 1:
        return longer[0]
    by_lower_case = {one.lower(): one for one in reversed(names)}
    close = get_close_matches(name.lower(), by_lower_case, n=1, cutoff=_SIMILARITY)
    return by_lower_case[close[0]] if close else ""


def did_you_mean(name: str, names: Collection[str]) -> str:
    """Returns a hint at the one of ``names`` that is meant, or nothing."""
    meant = nearest(name, names) if len(names) <= _MOST_COMPARED else ""
    return f"; did you mean {meant}?" if meant else ""


def wrong_type(raw: Any, expected: str) -> str:
    """Returns a sentence on a value of the wrong type, without the value."""
    return f"is {_TYPES.get(type(raw), 'a date')}; write {expected}"


class Reader:
    """Builds structs. ``mistakes`` are those found so far; where one is, the struct has the default.

    ``decode`` converts values to other types; it raises ValueError, a sentence that does not name the key.
    ``from_text``: values are text, as in the environment.
    """

    def __init__(self, decode: Callable[[type, Any], Any], *, from_text: bool = False) -> None:
        self.mistakes: list[Mistake] = []
        self._decode = decode
        self._from_text = from_text

    def struct(self, kind: type[T], raw: Any, path: Path = ()) -> T:
        if not isinstance(raw, dict):
            self.mistakes.append(Mistake(path, _no_section(raw) if path else wrong_type(raw, "keys with values")))
            return kind()
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        hints = get_type_hints(kind, include_extras=True)
        values: dict[str, Any] = {}
        for name, raw_value in raw.items():
            if name not in fields:
                self.mistakes.append(Mistake((*path, str(name)), _no_such_key(str(name), fields, path)))
                continue
            field = fields[name].name
            before = len(self.mistakes)
            value = self.value(hints[field], raw_value, (*path, name))
            if len(self.mistakes) == before or isinstance(value, msgspec.Struct):
                values[field] = value
        return kind(**values)

    def value(self, kind: Any, raw: Any, path: Path) -> Any:
        """Returns the value, None where it is wrong."""
        section, _ = _unwrapped(kind)
        if isinstance(section, type) and issubclass(section, msgspec.Struct):
            return self.struct(section, raw, path)
        if get_origin(kind) is tuple and isinstance(raw, (list, tuple)):
            (item_kind, _) = get_args(kind)
            return tuple(self.value(item_kind, item, (*path, index)) for index, item in enumerate(raw))
        if get_origin(kind) is dict and isinstance(raw, dict):
            (_, value_kind) = get_args(kind)
            return {str(name): self.value(value_kind, value, (*path, str(name))) for name, value in raw.items()}
        try:
            return msgspec.convert(raw, kind, strict=not self._from_text, dec_hook=self._decode)
        except msgspec.ValidationError as error:
            own = error.__cause__
            self.mistakes.append(Mistake(path, str(own) if isinstance(own, ValueError) else self._message(kind, raw)))
            return None

    def _message(self, kind: Any, raw: Any) -> str:
        kind, meta = _unwrapped(kind)
        is_number = isinstance(raw, (int, float))
        if get_origin(kind) is Literal:
            return _not_among([choice for choice in get_args(kind) if choice], raw)
        if get_origin(kind) is tuple:
            too_long = meta is not None and isinstance(raw, list)
            return f"takes at most {meta.max_length}" if meta and too_long else wrong_type(raw, "a list, as in [a, b]")
        expected = _expected(kind, meta)
        if isinstance(raw, str):
            quotes = "" if self._from_text or kind is str or get_origin(kind) is dict else ", without quotes"
            return f"{_quoted(raw)} is not {expected}{quotes}"
        if is_number and kind in (int, float) and not isinstance(raw, bool):
            return f"{raw} is not {expected}"
        return wrong_type(raw, f"{expected}, in quotes" if is_number and kind is str else expected)


def _no_section(raw: Any) -> str:
    if raw is None:
        return "is empty; write its keys below it, indented, or take it out"
    return f"is {_TYPES.get(type(raw), 'a date')}, not a section; write its keys below it, indented"


def _no_such_key(name: str, names: Iterable[str], path: Path) -> str:
    if meant := nearest(name, names):
        return f"no such key; did you mean {key_of((*path, meant))}?"
    names = list(names)
    return f"no such key; there are {', '.join(names[:_MAX_NAMES])}" + (", ..." if len(names) > _MAX_NAMES else "")


def _not_among(choices: list[Any], raw: Any) -> str:
    if not isinstance(raw, str):
        return wrong_type(raw, "one of " + ", ".join(choices))
    return f"{_quoted(raw)} is none of {', '.join(choices)}{did_you_mean(raw, choices)}"


def _unwrapped(kind: Any) -> tuple[Any, msgspec.Meta | None]:
    """Returns the type without ``| None`` and `Annotated`, and its annotation."""
    if get_origin(kind) in (Union, UnionType):
        kind = next(one for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is Annotated:
        kind, *annotations = get_args(kind)
        return kind, next((one for one in annotations if isinstance(one, msgspec.Meta)), None)
    return kind, None


def _expected(kind: Any, meta: msgspec.Meta | None) -> str:
    bounds = ""
    if meta is not None and meta.description:
        return meta.description
    if meta is not None and meta.ge is not None:
        bounds = f" from {meta.ge}" if meta.le is None else f" from {meta.ge} to {meta.le}"
    return _EXPECTED.get(get_origin(kind) or kind, "text") + bounds


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}...")

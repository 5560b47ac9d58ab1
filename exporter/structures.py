"""Plain values, as YAML has them, made into structs: everything that is wrong is told, in words for who wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T", bound=msgspec.Struct)

_NEAR: Final = 0.75
"""How alike two names are, of 1, where the one may be meant by the other."""

_LEAST: Final = 3
"""Characters that a shortened name has at least."""

_MOST_LISTED: Final = 12
_LONGEST_SHOWN: Final = 60
_STANDS: Final = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a section",
}


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with the value at ``path``: names of keys, numbers of items. Empty: with the whole."""

    path: tuple[str | int, ...]
    message: str

    @property
    def key(self) -> str:
        """The path as people write it: ``feed.targets[0]``."""
        written = "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in self.path)
        return written.removeprefix(".")


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the known name that is meant by a misspelt or shortened one, or nothing."""
    known = list(known)
    longer = [one for one in known if len(name) >= _LEAST and one.lower().startswith(name.lower())]
    if len(longer) == 1:
        return longer[0]
    close = get_close_matches(name.lower(), {one.lower(): one for one in known}, n=1, cutoff=_NEAR)
    return next((one for one in known if one.lower() == close[0]), "") if close else ""


def stands(raw: Any, form: str) -> str:
    """Returns a sentence on a value of the wrong kind, that does not show it."""
    return f"{_standing(raw)} stands here; write {form}"


class Reader:
    """Makes structs. ``wrong`` are the mistakes found so far; where one is, the struct has the default.

    ``decode`` makes values of other types; it raises ValueError, a sentence that does not name the key.
    ``written`` tells that values are text, as the environment has them.
    """

    def __init__(self, decode: Callable[[type, Any], Any], *, written: bool = False) -> None:
        self.wrong: list[Wrong] = []
        self._decode = decode
        self._written = written

    def struct(self, kind: type[T], raw: Any, path: tuple[str | int, ...] = ()) -> T:
        if not isinstance(raw, dict):
            self._refuse(path, _no_section(raw) if path else f"{_standing(raw)} stands here; write keys with values")
            return kind()
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        hints = get_type_hints(kind, include_extras=True)
        given: dict[str, Any] = {}
        for name, value in raw.items():
            if name not in fields:
                self._refuse((*path, name if isinstance(name, str) else str(name)), _no_such_key(name, fields, path))
                continue
            field = fields[name]
            before = len(self.wrong)
            made = self.value(hints[field.name], value, (*path, name))
            if len(self.wrong) == before or isinstance(made, msgspec.Struct):
                given[field.name] = made
        return kind(**given)

    def value(self, kind: Any, raw: Any, path: tuple[str | int, ...]) -> Any:
        """Returns the value, None where it is wrong."""
        section = _section_of(kind)
        if section is not None:
            return self.struct(section, raw, path)
        if get_origin(kind) is tuple and isinstance(raw, (list, tuple)):
            (item, _) = get_args(kind)
            return tuple(self.value(item, one, (*path, number)) for number, one in enumerate(raw))
        if get_origin(kind) is dict and isinstance(raw, dict):
            (_, value) = get_args(kind)
            return {str(name): self.value(value, one, (*path, str(name))) for name, one in raw.items()}
        return self._leaf(kind, raw, path)

    def _leaf(self, kind: Any, raw: Any, path: tuple[str | int, ...]) -> Any:
        try:
            return msgspec.convert(raw, kind, strict=not self._written, dec_hook=self._decode)
        except msgspec.ValidationError as error:
            own = error.__cause__
            self._refuse(path, str(own) if isinstance(own, ValueError) else self._explained(kind, raw))
            return None

    def _explained(self, kind: Any, raw: Any) -> str:
        kind, meta = _bare(kind)
        if get_origin(kind) is Literal:
            return _none_of([choice for choice in get_args(kind) if choice], raw)
        if get_origin(kind) is tuple:
            many = meta is not None and isinstance(raw, list)
            return f"at most {meta.max_length} can stand here" if meta and many else stands(raw, "a list, as in [a, b]")
        form, number = _form(kind, meta), isinstance(raw, (int, float))
        if isinstance(raw, str):
            quoted = "" if self._written or kind is str or get_origin(kind) is dict else ", without quotes"
            return f"{_shown(raw)} is not {form}{quoted}"
        if number and kind in (int, float) and not isinstance(raw, bool):
            return f"{raw} is not {form}"
        return stands(raw, f"{form}, in quotes" if number and kind is str else form)

    def _refuse(self, path: tuple[str | int, ...], message: str) -> None:
        self.wrong.append(Wrong(path, message))


def _no_section(raw: Any) -> str:
    if raw is None:
        return "is empty; write its keys below it, indented, or take it out"
    return f"{_standing(raw)} stands here; it is a section: write its keys below it, indented"


def _no_such_key(name: object, known: Iterable[str], path: tuple[str | int, ...]) -> str:
    meant = nearest(str(name), known)
    if meant:
        return f"no such key; did you mean {Wrong((*path, meant), '').key}?"
    return f"no such key; there are {_listed(known)}"


def _none_of(choices: list[Any], raw: Any) -> str:
    if not isinstance(raw, str):
        return stands(raw, "one of " + ", ".join(choices))
    meant = nearest(raw, choices)
    return f"{_shown(raw)} is none of {', '.join(choices)}" + (f"; did you mean {meant}?" if meant else "")


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    return ", ".join(known[:_MOST_LISTED]) + (", ..." if len(known) > _MOST_LISTED else "")


def _section_of(kind: Any) -> type[msgspec.Struct] | None:
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return next((part for part in parts if isinstance(part, type) and issubclass(part, msgspec.Struct)), None)


def _bare(kind: Any) -> tuple[Any, msgspec.Meta | None]:
    """Returns the type without what may be absent, and what is said of it."""
    if get_origin(kind) in (Union, UnionType):
        kind = next(part for part in get_args(kind) if part is not NoneType)
    if get_origin(kind) is Annotated:
        kind, *said = get_args(kind)
        return kind, next((one for one in said if isinstance(one, msgspec.Meta)), None)
    return kind, None


def _form(kind: Any, meta: msgspec.Meta | None) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "keys with values"}
    bounds = ""
    if meta is not None and meta.ge is not None:
        bounds = f" from {meta.ge}" if meta.le is None else f" from {meta.ge} to {meta.le}"
    if meta is not None and meta.description:
        return meta.description
    return names.get(get_origin(kind) or kind, "text") + bounds


def _standing(raw: Any) -> str:
    return "nothing" if raw is None else _STANDS.get(type(raw), "a date")


def _shown(raw: Any) -> str:
    if not isinstance(raw, str):
        return _standing(raw)
    return repr(raw if len(raw) <= _LONGEST_SHOWN else f"{raw[:_LONGEST_SHOWN]}...")

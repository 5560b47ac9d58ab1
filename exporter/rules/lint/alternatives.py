"""The alternatives of a regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from exporter.rules.golang import full_match

_TOKEN: Final = re.compile(
    r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\[:\w+:\]|\\.|[^\]\\])*\]|\((?:\?(?:P?<\w+>|[a-zA-Z-]*:))?|[)|]", re.DOTALL
)
"""What is quoted, a class, or a sign that groups."""


_FLAGS: Final = re.compile(r"\(\?[a-zA-Z-]+\)")
"""Flags that hold up to the end of a group, over the sides of its ``|``."""

_REPEATED: Final = ("*", "+", "?", "{")

_DEEPEST: Final = 20
_LONGEST: Final = 20_000


class _Side(NamedTuple):
    """One side of a ``|``, from ``begin`` to ``end``; ``alone`` is the pattern with this side only, in all groups."""

    begin: int
    end: int
    alone: str


@dataclass(slots=True)
class _Group:
    """From ``begin`` to ``end``, with the positions of its ``|``; in another group, but for the outermost."""

    begin: int
    outer: _Group | None = None
    depth: int = 0
    end: int = 0
    bars: list[int] = field(default_factory=list)
    is_repeated: bool = False

    def sides(self) -> Iterator[tuple[int, int]]:
        return zip([self.begin, *(bar + 1 for bar in self.bars)], [*self.bars, self.end], strict=True)

    def is_judged(self) -> bool:
        """Whether each of its sides is to match: one that is repeated may need several."""
        group: _Group | None = self
        while group is not None:
            if group.is_repeated:
                return False
            group = group.outer
        return bool(self.bars)


def unmatched_alternatives(pattern: str, matches: Callable[[str], bool]) -> Iterator[str]:
    """Yields the sides of every ``|`` with which a regular expression matches nothing, the outermost ones.

    Each is the whole expression with this side alone. ``matches`` tells whether an expression matches anything; one
    that matches the empty text does. The pattern is a valid one; in one that is huge, or has flags, none is looked for.
    """
    if "|" not in pattern or len(pattern) > _LONGEST or _FLAGS.search(pattern):
        return
    end = 0
    for side in sorted(_sides(pattern), key=lambda side: (side.begin, -side.end)):
        if side.begin >= end and not full_match(side.alone)("") and not matches(side.alone):
            yield side.alone
            end = side.end


def _sides(pattern: str) -> Iterator[_Side]:
    group = _Group(0)
    groups = []
    for token in _TOKEN.finditer(pattern):
        sign = token[0]
        if sign.startswith("("):
            group = _Group(token.end(), group, group.depth + 1)
        elif sign == "|":
            group.bars.append(token.start())
        elif sign == ")" and group.outer is not None:
            group.end = token.start()
            group.is_repeated = pattern.startswith(_REPEATED, token.end())
            groups.append(group)
            group = group.outer
    group.end = len(pattern)
    for one in (*groups, group):
        if one.depth <= _DEEPEST and one.is_judged():
            for begin, end in one.sides():
                yield _Side(begin, end, _alone(pattern, one, pattern[begin:end]))


def _alone(pattern: str, group: _Group, text: str) -> str:
    while group.outer is not None:
        outer = group.outer
        begin, end = next((begin, end) for begin, end in outer.sides() if begin <= group.begin <= end)
        text = pattern[begin : group.begin] + text + pattern[group.end : end]
        group = outer
    return text

"""The alternatives of a regular expression."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(
    r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\[:\w+:\]|\\.|[^\]\\])*\]|\((?:\?(?:P?<\w+>|[a-zA-Z-]*:))?|[)|]", re.DOTALL
)
"""What is quoted, a class, or a sign that groups."""


class Alternative(NamedTuple):
    """One side of a ``|``, from ``begin`` to ``end`` of the pattern; ``alone`` is the pattern with this side only."""

    begin: int
    end: int
    text: str
    alone: str


@dataclass(slots=True)
class _Group:
    begin: int
    bars: list[int] = field(default_factory=list)


def alternatives(pattern: str) -> Iterator[Alternative]:
    """Yields the sides of every ``|``, those of inner groups first. The pattern is a valid one."""
    groups = [_Group(0)]
    for token in _TOKEN.finditer(pattern):
        sign = token[0]
        if sign.startswith("("):
            groups.append(_Group(token.end()))
        elif sign == "|":
            groups[-1].bars.append(token.start())
        elif sign == ")" and len(groups) > 1:
            yield from _sides(pattern, groups.pop(), token.start())
    yield from _sides(pattern, groups[0], len(pattern))


def _sides(pattern: str, group: _Group, end: int) -> Iterator[Alternative]:
    begins = [group.begin, *(bar + 1 for bar in group.bars)]
    for begin, stop in zip(begins, [*group.bars, end], strict=True) if group.bars else ():
        text = pattern[begin:stop]
        yield Alternative(begin, stop, text, pattern[: group.begin] + text + pattern[end:])

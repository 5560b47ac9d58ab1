"""What is found out about each part of an expression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from exporter.rules.promql.tree import Tree, walk

Result = TypeVar("Result")


class PerPart(Generic[Result]):
    """Finds something out about each part once; about its operands first, so that no expression is too deep.

    ``find`` may ask for the results of the operands of what it is given.
    """

    def __init__(self, find: Callable[[Tree], Result]) -> None:
        self._find = find
        self._results: dict[int, tuple[Tree, Result]] = {}  # holds the tree, so that no other has its id

    def of(self, tree: Tree) -> Result:
        results = self._results
        if id(tree) not in results:
            for part in reversed(list(walk(tree))):
                if id(part) not in results:
                    results[id(part)] = part, self._find(part)
        return results[id(tree)][1]

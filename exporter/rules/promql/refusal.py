"""Why expressions are refused."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.errors import DictRateLimitError
from exporter.rules.promql.lexer import ParseError


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an expression is refused: a sentence, and where what it is about begins (None: it is the whole expression).

    ``error`` is that of an expression that cannot be parsed.
    """

    message: str
    position: int | None = None
    error: ParseError | None = None


class ExpressionRefused(DictRateLimitError):
    """An expression cannot be parsed, or is not in the subset."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems

"""The tokens of an expression, as Prometheus 3.16 reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from exporter.rules.promql.literals import NUMBERS, STRINGS, string_fault
from exporter.rules.promql.signatures import AGGREGATIONS
from exporter.rules.promql.tree import Span

NUMBER: Final = "number"
DURATION: Final = "duration"
STRING: Final = "string"
IDENTIFIER: Final = "identifier"
METRIC: Final = "metric name"
"""An identifier with a colon, which is no name of a function."""
END: Final = "end of the expression"

MOST_TOKENS: Final = 1000
"""An expression is walked as deep as it is nested; thousands of terms would end the process, not the file."""

MOST_CHARACTERS: Final = 100_000
"""Nothing else runs while an expression is read."""

DURATION_WORDS: Final = frozenset({"step", "range", "max_of", "min_of"})
KEYWORDS: Final = frozenset(
    [
        "and",
        "or",
        "unless",
        "atan2",
        "offset",
        "smoothed",
        "anchored",
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "fill",
        "fill_left",
        "fill_right",
        "bool",
        "start",
        "end",
    ]
)
_RESERVED: Final = KEYWORDS | DURATION_WORDS | AGGREGATIONS.keys()
_ARGUMENT: Final = re.compile(r"[ \t\r\n]*\(")
_FILLS: Final = frozenset({"fill", "fill_left", "fill_right"})

_SPACE: Final = r"[ \t\r\n]+"
_COMMENT: Final = r"\#[^\r\n]*"


def _pattern(*alternatives: str, ignored: str = f"{_SPACE}|{_COMMENT}") -> re.Pattern[str]:
    return re.compile(f"(?:{ignored})*(?:{'|'.join((*alternatives, '(?P<unknown>.)'))}|$)", re.VERBOSE | re.DOTALL)


_SIGNS: Final = r"==|!=|>=|<=|</|>/|=(?!~)|[-+*/%^<>(){\],@]"
_OUTSIDE: Final = _pattern(NUMBERS, STRINGS, r"(?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)", rf"(?P<sign>{_SIGNS}|\[)")
_IN_BRACES: Final = _pattern(STRINGS, r"(?P<word>[a-zA-Z_][a-zA-Z0-9_]*)", r"(?P<sign>=~|!~|!=|[=,}])")
_IN_BRACKETS: Final = _pattern(NUMBERS, r"(?P<word>[a-zA-Z_]+)", r"(?P<sign>[-+*/%^(),:\]])", ignored=_SPACE)
_AFTER_A_DURATION: Final = _pattern(NUMBERS, STRINGS, r"(?P<word>[a-zA-Z_]+)", rf"(?P<sign>{_SIGNS}|:)")
"""Within brackets Prometheus reads more once a number has come, though nothing more is allowed: the faults differ."""

_CLOSING: Final = {"(": ")", "{": "}", "[": "]"}
_OPENING: Final = {closing: opening for opening, closing in _CLOSING.items()}
_BRACKETS: Final = _CLOSING.keys() | _OPENING.keys()
_SET_OPERATORS: Final = {"&": "and", "|": "or", "!": "unless"}
"""Of other languages, and of this one."""


class ParseError(ValueError):
    """What is wrong with an expression: ``reason`` at ``position``. ``opened`` is where a bracket is not closed.

    ``verdict`` is what is said of the expression itself: nothing where it is grammatical, and its types do not fit.
    """

    def __init__(
        self,
        reason: str,
        expression: str,
        position: int,
        opened: int | None = None,
        *,
        verdict: str = " cannot be parsed",
    ) -> None:
        line, column = line_and_column(expression, position)
        also = "" if opened is None else opening(*line_and_column(expression, opened))
        super().__init__(f"{line}:{column}: {reason}{also}")
        self.reason = reason
        self.position = position
        self.opened = opened
        self.verdict = verdict


def opening(line: int, column: int) -> str:
    """Returns how the reason goes on where it is about a bracket that is not closed."""
    return f", that of line {line}, column {column}"


def line_and_column(text: str, position: int) -> tuple[int, int]:
    """Returns where a character of a text is, both from 1."""
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)


class Token(NamedTuple):
    """``kind`` is one of the constants above, or the keyword (in lower case) or sign itself."""

    kind: str
    text: str
    span: Span


class Lexer:
    """Reads one token after the other; inside braces and brackets other ones are possible than outside."""

    def __init__(self, expression: str) -> None:
        """Raises ValueError, a sentence, where the expression is too long."""
        if len(expression) > MOST_CHARACTERS:
            raise ValueError(
                f"the expression has {len(expression):,} characters; more than {MOST_CHARACTERS:,} are not supported"
            )
        self._expression = expression
        self._position = 0
        self._count = 0
        self._open: list[Token] = []
        # The brace or bracket that decides how the text is read. Within a bracket: whether a number, or what else makes
        # a duration, and the colon have come.
        self._inside = ""
        self._duration_seen = self._number_seen = self._colon_seen = False

    def next(self) -> Token:
        """Raises ParseError where no token can stand, ValueError where there are too many."""
        match = self._pattern().match(self._expression, self._position)
        if match is None or match.lastgroup is None:
            return self._end()
        self._count += 1
        if self._count > MOST_TOKENS:
            raise ValueError(f"the expression has more than {MOST_TOKENS:,} words, which are not supported")
        begin, self._position = match.span(match.lastgroup)
        token = Token(self._kind(match.lastgroup, match), match[match.lastgroup], Span(begin, self._position))
        if self._inside == "[":
            self._follow_duration(token)
        if token.kind in _BRACKETS:
            self._follow(token)
        return token

    def _pattern(self) -> re.Pattern[str]:
        if not self._inside:
            return _OUTSIDE
        if self._inside == "{":
            return _IN_BRACES
        return _AFTER_A_DURATION if self._number_seen else _IN_BRACKETS

    def _kind(self, kind: str, match: re.Match[str]) -> str:
        text, begin = match[kind], match.start(kind)
        if kind == "bad_number":
            number = re.compile(r"[0-9A-Za-z_.]*").match(self._expression, begin)
            raise self._error(
                f"`{number[0] if number else text}` is no number and no duration, such as 1.5, 90s or 1h30m", begin
            )
        if kind == "bad_string":
            raise self._error(string_fault(self._expression, begin), begin)
        if kind == "unknown":
            raise self._error(f"unexpected {_describe(text)}", begin)
        if kind == "sign":
            return text
        return self._kind_of_word(text, begin) if kind == "word" else kind

    def _kind_of_word(self, text: str, begin: int) -> str:
        word = text.lower()
        if self._inside == "{":
            return IDENTIFIER
        if self._inside == "[" and word not in DURATION_WORDS:
            raise self._error(f"unexpected `{text}`: a duration is written as 5m or 300", begin)
        if word in {"inf", "nan"}:
            return NUMBER
        if word in _RESERVED and (word not in _FILLS or _ARGUMENT.match(self._expression, self._position)):
            return word
        return METRIC if ":" in text else IDENTIFIER

    def _follow_duration(self, token: Token) -> None:
        """Raises ParseError where a colon is one too many, or too early."""
        if token.kind in {NUMBER, DURATION} | DURATION_WORDS:
            self._duration_seen = True
            self._number_seen |= token.kind in {NUMBER, DURATION}
        elif token.kind == ":":
            if self._colon_seen or not self._duration_seen:
                raise self._error("unexpected `:`", token.span.begin if self._number_seen else token.span.end)
            self._colon_seen = True

    def _follow(self, bracket: Token) -> None:
        """Keeps what is open. Raises ParseError where nothing is open that a bracket could close."""
        if bracket.kind in _CLOSING:
            self._open.append(bracket)
            if bracket.kind != "(":
                self._inside = bracket.kind
                self._duration_seen = self._number_seen = self._colon_seen = False
            return
        opening_ = _OPENING[bracket.kind]
        index = next((i for i in reversed(range(len(self._open))) if self._open[i].kind == opening_), None)
        if index is None:
            reason = f"unexpected `{bracket.kind}`: nothing is open that it could close"
            raise self._error(reason, bracket.span.end if bracket.kind == ")" else bracket.span.begin)
        del self._open[index]
        if opening_ != "(":
            self._inside = ""

    def _end(self) -> Token:
        end = len(self._expression)
        if self._open:
            opened = self._open[-1]
            reason = f"unexpected end: a `{opened.kind}` is not closed"
            raise ParseError(reason, self._expression, end, opened.span.begin)
        return Token(END, "", Span(end, end))

    def _error(self, reason: str, position: int) -> ParseError:
        return ParseError(reason, self._expression, position)


def tokens(expression: str) -> Iterator[Token]:
    """Yields the tokens of an expression that can be parsed."""
    lexer = Lexer(expression)
    while (token := lexer.next()).kind != END:
        yield token


def _describe(character: str) -> str:
    if character in _SET_OPERATORS:
        return f"character `{character}`; write `{_SET_OPERATORS[character]}`"
    if character in "\u201c\u201d\u201e\u2018\u2019":
        return f"character `{character}`; a text stands in plain quotes"
    return f"character `{character}`"

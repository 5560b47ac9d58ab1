"""Labels as an expression names them: the matchers of a selector, and the lists behind ``by``, ``on`` and the like."""

from __future__ import annotations

from typing import Final, Literal, cast

from exporter.rules.golang import compile_pattern, is_utf_8
from exporter.rules.promql.lexer import IDENTIFIER, STRING
from exporter.rules.promql.literals import string_value
from exporter.rules.promql.series import METRIC_NAME
from exporter.rules.promql.tokens import LABELS, Tokens
from exporter.rules.promql.tree import LabelList, Matcher

_NAMELESS: Final = "a label has a name, which is UTF-8"


def take_label_list(tokens: Tokens, *words: Literal["by", "without", "on", "ignoring"]) -> LabelList | None:
    """Takes one of the words with its labels, if it comes next. Raises ParseError."""
    word = tokens.take_if(*words)
    if word is None:
        return None
    return LabelList(cast("Literal['by', 'without', 'on', 'ignoring']", word.kind), take_label_names(tokens))


def take_label_names(tokens: Tokens) -> tuple[str, ...]:
    """Takes labels in parentheses. Raises ParseError."""
    names: list[str] = []
    tokens.expect("(", hint=f"labels stand in brackets: {tokens.previous.kind} ({tokens.peek().text})")
    while not tokens.take_if(")"):
        token = tokens.expect(*LABELS, STRING)
        names.append(string_value(token.text) if token.kind == STRING else token.text)
        if not is_utf_8(names[-1]) or not names[-1]:
            tokens.fail(_NAMELESS, token.span.begin)
        if not tokens.take_if(","):
            tokens.expect(")", hint="a `,` or the `)` is missing before it")
            break
    return tuple(names)


def take_matchers(tokens: Tokens) -> tuple[Matcher, ...]:
    """Takes the matchers of a selector, in their braces. Raises ParseError."""
    matchers: list[Matcher] = []
    tokens.expect("{")
    while not tokens.take_if("}"):
        matchers.append(_matcher(tokens))
        if not tokens.take_if(","):
            tokens.expect("}", hint="a `,` or the `}` is missing before it")
            break
    return tuple(matchers)


def _matcher(tokens: Tokens) -> Matcher:
    label = tokens.expect(IDENTIFIER, STRING, hint="")
    name = string_value(label.text) if label.kind == STRING else label.text
    if label.kind == STRING and tokens.peek().kind in {",", "}"}:
        return Matcher(METRIC_NAME, "=", name, span=label.span)
    written = f'a matcher is written {label.text}="A", or {label.text}=~"A|B"'
    operator = tokens.expect("=", "!=", "=~", "!~", hint=written)
    unquoted = tokens.peek().text if tokens.peek().kind == IDENTIFIER else ""
    quoted = f'a text is written in quotes: {label.text}{operator.kind}"{unquoted}"'
    text = tokens.expect(STRING, hint=quoted if unquoted else written)
    value = string_value(text.text)
    if operator.kind in {"=~", "!~"}:
        try:
            compile_pattern(value)
        except ValueError as error:
            tokens.fail(f"{text.text} is not a regular expression: {error}", label.span.begin)
    kind = cast("Literal['=', '!=', '=~', '!~']", operator.kind)
    return Matcher(name, kind, value, span=label.span.to(text.span))

"""The functions that a rule's templates may call: Go's own and Prometheus', those that need no query."""

from __future__ import annotations

import html
import ipaddress
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus

from exporter.durations import DurationOutOfRange, parse_duration
from exporter.rules.promql.regexes import compiled
from exporter.rules.templates import humanize
from exporter.rules.templates.go_format import formatted, joined, printed, quoted
from exporter.rules.templates.values import CallFailed, Value, truth, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Function:
    """``parameters``: how many arguments, the last of them any number of times where ``variadic``.

    ``texts`` of the parameters, from the first on, take text only.
    """

    call: Callable[..., Value]
    parameters: int
    variadic: bool = False
    texts: int = 0


def _equal(first: Value, *others: Value) -> bool:
    if not others:
        raise CallFailed("missing argument for comparison")
    for other in others:
        if type_name(other) != type_name(first):
            raise CallFailed("incompatible types for comparison")
        if isinstance(other, dict):
            raise CallFailed(f"non-comparable type {printed(other)}: {type_name(other)}")
        if first == other:
            return True
    return False


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Value, Value], bool]:
    def holds(left: Value, right: Value) -> bool:
        for value in (left, right):
            if isinstance(value, dict):
                raise CallFailed("invalid type for comparison")
        if type_name(left) != type_name(right):
            raise CallFailed("incompatible types for comparison")
        if isinstance(left, bool):
            raise CallFailed("invalid type for comparison")
        return compare(left, right)

    return holds


def _not_equal(left: Value, right: Value) -> bool:
    return not _equal(left, right)


def _at_most(left: Value, right: Value) -> bool:
    """Go asks for less or equal, so that NaN is neither."""
    return _ordered(operator.lt)(left, right) or _equal(left, right)


def _greater(left: Value, right: Value) -> bool:
    return not _at_most(left, right)


def _at_least(left: Value, right: Value) -> bool:
    return not _ordered(operator.lt)(left, right)


def _length(value: Value) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return len(value)
    raise CallFailed(f"len of type {type_name(value)}")


def _index(item: Value, *keys: Value) -> Value:
    for key in keys:
        if isinstance(item, dict):
            if not isinstance(key, str):
                raise CallFailed(f"value has type {type_name(key)}; should be string")
            item = item.get(key, "")
        elif isinstance(item, str):
            item = _byte(item, key)
        else:
            raise CallFailed(f"can't index item of type {type_name(item)}")
    return item


def _byte(text: str, place: Value) -> int:
    if isinstance(place, bool) or not isinstance(place, int):
        raise CallFailed(f"cannot index slice/array with type {type_name(place)}")
    content = text.encode()
    if place == len(content):
        raise CallFailed("reflect: string index out of range")
    if not 0 <= place < len(content):
        raise CallFailed(f"index out of range: {place}")
    return content[place]


def _title(text: str) -> str:
    """Every letter that no letter, digit or underscore stands before."""
    made, begins = "", True
    for character in text:
        made += _mapped(character, character.title()) if begins else character
        begins = not (character.isalnum() or character == "_") if character < "\x80" else character.isspace()
    return made


def _upper(text: str) -> str:
    return "".join([_mapped(character, character.upper()) for character in text])


def _lower(text: str) -> str:
    return "".join([character.lower()[0] for character in text])


def _mapped(character: str, to: str) -> str:
    """Go gives one character for each; where Python gives several, it has none and leaves it."""
    return to if len(to) == 1 else character


def _replaced(pattern: str, replacement: str, text: str) -> str:
    """An empty match right behind another one is none to Go; Python's own replacing takes it for one."""
    try:
        expression = compiled(pattern)
    except ValueError as error:
        raise CallFailed(f"regexp: Compile({_go_literal(pattern)}): {error}") from None
    made, place, done = "", 0, 0
    while place <= len(text) and (match := expression.search(text, place)) is not None:
        made += text[done : match.start()]
        if match.end() > done or match.start() == 0:
            made += _expanded(replacement, match, expression.groupindex)
        done = match.end()
        place = max(done, place + 1)
    return made + text[done:]


def _expanded(replacement: str, match: Any, names: Mapping[str, int]) -> str:
    def group(reference: re.Match[str]) -> str:
        if reference["dollar"]:
            return "$"
        name = reference["braced"] or reference["plain"]
        number = int(name) if _NUMBER.fullmatch(name) else names.get(name)
        return (match.group(number) or "") if number is not None and number <= match.re.groups else ""

    return _REFERENCE.sub(group, replacement)


_REFERENCE: Final = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<braced>\w+)\}|(?P<plain>\w+))")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,8}")


def _matches(pattern: str, text: str) -> bool:
    try:
        return compiled(pattern).search(text) is not None
    except ValueError as error:
        raise CallFailed(str(error)) from None


def _go_literal(text: str) -> str:
    return f"`{text}`" if "`" not in text else quoted(text)


def _host_and_port(address: str) -> tuple[str, str] | None:
    match = _HOST_PORT.fullmatch(address)
    return (match["bracketed"] if match["bracketed"] is not None else match["plain"], match["port"]) if match else None


_HOST_PORT: Final = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^:\[\]]*)):(?P<port>[^:\[\]]*)")


def _strip_port(address: str) -> str:
    split = _host_and_port(address)
    return address if split is None else split[0]


def _strip_domain(address: str) -> str:
    host, port = _host_and_port(address) or (address, "")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        first = host.split(".", maxsplit=1)[0]
        return f"[{first}]:{port}" if port and ":" in first else f"{first}:{port}" if port else first
    return address


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except DurationOutOfRange:
        raise CallFailed("duration out of range") from None
    except ValueError:
        told = "empty duration string" if not text else f"not a valid duration string: {quoted(text)}"
        raise CallFailed(told) from None


def _html(*values: Value) -> str:
    return html.escape(joined(list(values))).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


FUNCTIONS: Final[Mapping[str, Function]] = {
    "and": Function(lambda *_: "", 1, variadic=True),
    "or": Function(lambda *_: "", 1, variadic=True),
    "not": Function(lambda value: not truth(value), 1),
    "eq": Function(_equal, 1, variadic=True),
    "ne": Function(_not_equal, 2),
    "lt": Function(_ordered(operator.lt), 2),
    "le": Function(_at_most, 2),
    "gt": Function(_greater, 2),
    "ge": Function(_at_least, 2),
    "len": Function(_length, 1),
    "index": Function(_index, 1, variadic=True),
    "print": Function(lambda *values: joined(list(values)), 0, variadic=True),
    "println": Function(lambda *values: " ".join(map(printed, values)) + "\n", 0, variadic=True),
    "printf": Function(lambda text, *values: formatted(text, list(values)), 1, variadic=True, texts=1),
    "html": Function(_html, 0, variadic=True),
    "urlquery": Function(lambda *values: quote_plus(joined(list(values)), safe="~"), 0, variadic=True),
    "humanize": Function(humanize.humanize, 1),
    "humanize1024": Function(humanize.humanize1024, 1),
    "humanizeDuration": Function(humanize.humanize_duration, 1),
    "humanizePercentage": Function(humanize.humanize_percentage, 1),
    "humanizeTimestamp": Function(humanize.humanize_timestamp, 1),
    "toTime": Function(humanize.to_time, 1),
    "title": Function(_title, 1, texts=1),
    "toUpper": Function(_upper, 1, texts=1),
    "toLower": Function(_lower, 1, texts=1),
    "match": Function(_matches, 2, texts=2),
    "reReplaceAll": Function(_replaced, 3, texts=3),
    "safeHtml": Function(str, 1, texts=1),
    "stripPort": Function(_strip_port, 1, texts=1),
    "stripDomain": Function(_strip_domain, 1, texts=1),
    "parseDuration": Function(_duration, 1, texts=1),
    "graphLink": Function(lambda text: f"/graph?g0.expr={quote_plus(text, safe='~')}&g0.tab=0", 1, texts=1),
    "tableLink": Function(lambda text: f"/graph?g0.expr={quote_plus(text, safe='~')}&g0.tab=1", 1, texts=1),
}

NEEDS_PROMETHEUS: Final = frozenset(
    {"query", "first", "value", "label", "strvalue", "sortByLabel", "args", "tmpl", "externalURL", "pathPrefix", "call"}
)
"""Known to Prometheus; what they give depends on it, not on the sample alone."""

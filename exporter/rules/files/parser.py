"""Rule files taken apart: groups and rules as written, with their lines, nothing compiled yet."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from exporter.durations import parse_duration
from exporter.rules.files.documents import Entry, Key, fields, parse, quoted
from exporter.rules.finding import Finding
from exporter.rules.promql.lexer import find
from exporter.yaml_text import YamlInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)

_PLAIN: Final = re.compile(r"""[ -]*(?P<key>[\w.-]+):[ ]+(?P<value>[^\s"'|>&*!#].*?)\s*""")
"""A line that is a key and a plain value."""

_QUOTED: Final = re.compile(r"""\"[^"]*\"|'[^']*'""")

_COLLECTIONS: Final = frozenset({"groups", "rules", "labels", "annotations"})
_LONGEST_SHOWN: Final = 300

_FILE: Final = frozenset({"groups"})
_GROUP: Final = frozenset({"name", "interval", "rules", "limit", "query_offset"})
_RULE: Final = frozenset({"alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"})


@dataclass(frozen=True, slots=True)
class Text:
    """A value, the line of its key, and where it was read."""

    line: int
    text: str
    entry: Entry | None = field(default=None, compare=False, repr=False)

    def place(self, position: int) -> tuple[int, int] | None:
        """Returns line and column in the file of what stands at a position of the text, where that can be told."""
        return self.entry.place(position) if self.entry is not None else None

    def line_of(self, construct: str) -> int:
        """Returns the line where a part of an expression is written, as far as that can be told."""
        position = find(self.text, construct) if construct else None
        found = self.place(position) if position is not None else None
        return self.line if found is None else found[0]


@dataclass(frozen=True, slots=True)
class ParsedRule:
    """An alerting rule as written. ``line`` is that of its ``alert``; where that is merged, the rule's first."""

    line: int
    name: str
    expr: Text
    for_seconds: float
    keep_firing_for_seconds: float
    labels: Mapping[str, Text]
    annotations: Mapping[str, Text]


@dataclass(frozen=True, slots=True)
class ParsedGroup:
    file: str
    line: int
    name: str
    interval_seconds: float | None
    rules: tuple[ParsedRule, ...]


def parse_file(file: str, content: bytes, findings: list[Finding]) -> list[ParsedGroup]:
    """Returns the file's groups, with those of their rules that can be read; ``findings`` takes the rest."""
    parser = _Parser(file, findings)
    try:
        text = content.decode()
        root = parse(text)
    except YamlInvalid as error:
        parser.wrong(*_unquoted(text.splitlines(), error))
        return []
    except UnicodeDecodeError as error:
        parser.wrong(content.count(b"\n", 0, error.start) + 1, "is not UTF-8")
        return []
    return parser.groups(root) if root is not None else []


def _unquoted(lines: Sequence[str], error: YamlInvalid) -> tuple[int, str]:
    """Returns line and problem: most often a template or an expression that needs quotes, and YAML notices later."""
    by_quotes = "quotes" in error.problem or "indented" in error.problem
    for number in range(error.line, max(error.line - 3, 0), -1) if by_quotes else ():
        found = _PLAIN.fullmatch(lines[number - 1]) if number <= len(lines) else None
        if found is None:
            continue
        value = found["value"]
        if value[0] == "{" and re.search(r":\s+{{", _QUOTED.sub("", value)):
            return number, "a text that begins with {{ is written in quotes"
        flow = found["key"] in _COLLECTIONS and not value.startswith("{{")
        if value[0] in "{[%@`" and not flow:
            why = f"a text that begins with {'{{' if value.startswith('{{') else value[0]} is written in quotes"
        elif number == error.line and ": " in value and not flow:
            why = "a text that holds `: ` is written in quotes"
        else:
            continue
        return number, why if len(value) > _LONGEST_SHOWN else f"{why}: {found['key']}: {quoted(value)}"
    return error.line, f"is not YAML, column {error.column}: {error.problem}" if error.column else error.problem


class _Parser:
    def __init__(self, file: str, findings: list[Finding]) -> None:
        self._file = file
        self._findings = findings
        self._group = self._rule = ""

    def wrong(self, line: int, message: str) -> None:
        self._findings.append(Finding(self._file, line, self._group, self._rule, message))

    def _wrong_at_root(self, line: int, message: str) -> None:
        self.wrong(line, message if "twice" in message else f"{message}; a rule file holds `groups` alone")

    def groups(self, root: Entry) -> list[ParsedGroup]:
        found: list[ParsedGroup] = []
        lines: dict[str, int] = {}
        known = fields(root, _FILE, self._wrong_at_root).get("groups")
        for entry in self._items(known):
            group = self._parse_group(entry)
            if group.name in lines:
                self.wrong(group.line, f"group {group.name} is there already, in line {lines[group.name]}")
            lines.setdefault(group.name, group.line)
            found.append(group)
        return found

    def _parse_group(self, entry: Entry) -> ParsedGroup:
        self._group = self._rule = ""
        known = fields(entry, _GROUP, self.wrong)
        self._group = name = self._text(known.get("name")).text
        if not name:
            self.wrong(entry.line, "a group needs a name")
        for refused in ("limit", "query_offset"):
            if refused in known:
                self.wrong(known[refused].line, f"`{refused}` of a group is not supported; take it out")
        interval = self._duration(known.get("interval")) if "interval" in known else None
        rules = self._parse_rules(self._items(known.get("rules")))
        self._rule = ""
        parsed = ParsedGroup(self._file, entry.line, name, interval, rules)
        self._group = ""
        return parsed

    def _parse_rules(self, entries: list[Entry]) -> tuple[ParsedRule, ...]:
        """An alias of a rule is that rule again, looked at once."""
        made: dict[int, ParsedRule | None] = {}
        for entry in entries:
            if id(entry.node) not in made:
                made[id(entry.node)] = self._parse_rule(entry)
        found = (made[id(entry.node)] for entry in entries)
        return tuple(rule for rule in found if rule is not None)

    def _parse_rule(self, entry: Entry) -> ParsedRule | None:
        self._rule = entry.scalar("alert") or entry.scalar("record")
        known = fields(entry, _RULE, self.wrong)
        name = self._text(known.get("alert")).text
        line = max(known["alert"].line, entry.line) if "alert" in known else entry.line
        if "record" in known:
            record = self._text(known["record"]).text
            self.wrong(
                known["record"].line,
                f"`record: {record}` is not supported; write its expression where {record} is used",
            )
            return None
        if not name:
            self.wrong(line, "a rule needs `alert`")
            return None
        expr = self._text(known.get("expr"), line)
        if not expr.text.strip():
            self.wrong(expr.line, "a rule needs `expr`")
            return None
        return ParsedRule(
            line=line,
            name=name,
            expr=expr,
            for_seconds=self._duration(known.get("for")),
            keep_firing_for_seconds=self._duration(known.get("keep_firing_for")),
            labels=self._texts(known.get("labels"), "label"),
            annotations=self._texts(known.get("annotations"), "annotation"),
        )

    def _items(self, key: Key | None) -> list[Entry]:
        if key is None:
            return []
        try:
            return list(key.value.items())
        except ValueError as error:
            self.wrong(key.line, str(error))
            return []

    def _text(self, key: Key | None, line: int = 0) -> Text:
        """An absent text is empty."""
        if key is None:
            return Text(line, "")
        try:
            text = key.value.text()
        except ValueError as error:
            self.wrong(key.line, str(error))
            return Text(key.line, "")
        if "\0" in text:
            self.wrong(key.line, "a NUL character is not supported: the database does not take it")
            return Text(key.line, "")
        return Text(key.line, text, key.value)

    def _duration(self, key: Key | None) -> float:
        given = self._text(key)
        if key is None or key.value.is_null:
            return 0.0
        try:
            return parse_duration(given.text)
        except ValueError as error:
            self.wrong(given.line, str(error))
            return 0.0

    def _texts(self, key: Key | None, kind: str) -> Mapping[str, Text]:
        if key is None:
            return {}
        found: dict[str, Text] = {}
        for name, value in fields(key.value, None, self.wrong).items():
            if not _LABEL_NAME.fullmatch(name) or (kind == "label" and name == "__name__"):
                self.wrong(value.line, f"`{name}` is not a name for a {kind}")
            else:
                found[name] = self._text(value)
        return found

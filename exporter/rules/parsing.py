"""Rule files taken apart: groups and rules as written, with their lines, nothing compiled yet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporter.config import parse_duration
from exporter.rules.documents import Entry, Key, fields, parse
from exporter.rules.finding import Finding
from exporter.yaml_text import YamlInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

_LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)

_FILE: Final = frozenset({"groups"})
_GROUP: Final = frozenset({"name", "interval", "rules", "limit", "query_offset"})
_RULE: Final = frozenset({"alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"})


@dataclass(frozen=True, slots=True)
class Text:
    """A value, the line of its key, and where the value's own lines are the file's, the first of them."""

    line: int
    text: str
    first_line: int | None = None

    def line_of(self, construct: str) -> int:
        """Returns the line where a construct that the text holds is written, as far as that can be told."""
        first_word = re.match(r"\W*(\w+)", construct)
        if self.first_line is None or first_word is None:
            return self.line
        found = re.search(rf"\b{re.escape(first_word[1])}\b", self.text)
        return self.line if found is None else self.first_line + self.text.count("\n", 0, found.start())


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
        root = parse(content.decode())
    except YamlInvalid as error:
        parser.wrong(error.line, error.problem)
        return []
    except UnicodeDecodeError:
        parser.wrong(1, "is not UTF-8")
        return []
    return parser.groups(root) if root is not None else []


class _Parser:
    def __init__(self, file: str, findings: list[Finding]) -> None:
        self._file = file
        self._findings = findings
        self._group = self._rule = ""

    def wrong(self, line: int, message: str) -> None:
        self._findings.append(Finding(self._file, line, self._group, self._rule, message))

    def groups(self, root: Entry) -> list[ParsedGroup]:
        found: list[ParsedGroup] = []
        names: set[str] = set()
        known = fields(root, _FILE, self.wrong).get("groups")
        for entry in self._items(known):
            group = self._parse_group(entry)
            if group.name in names:
                self.wrong(group.line, f"group {group.name} is repeated in this file")
            names.add(group.name)
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
                self.wrong(known[refused].line, f"`{refused}` of a group is not supported")
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
            self.wrong(known["record"].line, f"`record: {self._text(known['record']).text}` is not supported")
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
        return Text(key.line, text, key.value.first_line)

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

"""Groups and rules of a file as written, with their lines; nothing is compiled yet."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import yaml

from exporter.durations import parse_duration
from exporter.errors import YamlInvalid
from exporter.rules.files.documents import ABSENT, Entry, fields, parse, quoted
from exporter.rules.finding import Finding, Location

_LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_SERIES_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)

_PLAIN: Final = re.compile(r"""[ -]*(?P<key>[\w.-]+):[ ]+(?P<value>[^\s"'|>&*!#].*?)\s*""")
"""A line that is a key and a plain value."""

_QUOTED: Final = re.compile(r"""\"[^"]*\"|'[^']*'""")

_WHOLE_NUMBER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,17})", re.ASCII)

_COLLECTIONS: Final = frozenset({"groups", "rules", "labels", "annotations"})
_LONGEST_QUOTED: Final = 300

_FILE: Final = frozenset({"groups"})
_GROUP: Final = frozenset({"name", "interval", "rules", "labels", "limit", "query_offset"})
_RULE: Final = frozenset({"alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"})


@dataclass(frozen=True, slots=True)
class Text:
    """A value, the line of its key, and where it was read."""

    line: int
    text: str
    entry: Entry = field(compare=False, repr=False)

    def location(self, position: int) -> Location:
        """Returns where in the file a character of the text stands; the line of the key where that is not clear."""
        line_and_column = self.entry.locate(position)
        return Location(self.line) if line_and_column is None else Location(*line_and_column)


@dataclass(frozen=True, slots=True)
class ParsedRule:
    """A rule as written. ``line`` is that of its ``alert`` or ``record``; where that is merged, ``first_line``.

    ``labels`` are its own and its group's, of which it has none of the same name.
    """

    first_line: int
    line: int
    name: str
    expr: Text
    for_seconds: float
    keep_firing_for_seconds: float
    labels: Mapping[str, Text]
    annotations: Mapping[str, Text]
    is_recording: bool = False


@dataclass(frozen=True, slots=True)
class ParsedGroup:
    """A group as written. ``limit`` 0: its rules may have any number of alerts or series; ``labels``: the group's."""

    file: str
    line: int
    name: str
    interval_seconds: float | None
    rules: tuple[ParsedRule, ...]
    labels: Mapping[str, Text]
    limit: int
    query_offset_seconds: float

    def has_label_at(self, line: int) -> bool:
        """Returns whether what is in a line is a label of the group, which concerns all its rules alike."""
        return any(text.line == line for text in self.labels.values())


def parse_file(
    file: str, content: bytes, findings: list[Finding], *, ignore_unknown_fields: bool = False
) -> list[ParsedGroup]:
    """Returns the file's groups, with those of their rules that can be read; ``findings`` takes the rest."""
    parser = _Parser(file, findings, ignore_unknown_fields=ignore_unknown_fields)
    try:
        text = content.decode()
        root = parse(text)
    except YamlInvalid as error:
        parser.report(*_unquoted(text.splitlines(), error))
        return []
    except UnicodeDecodeError as error:
        parser.report(content.count(b"\n", 0, error.start) + 1, "is not UTF-8")
        return []
    return parser.groups(root) if root is not None else []


def _unquoted(lines: Sequence[str], error: YamlInvalid) -> tuple[int, str]:
    """Returns line and problem: most often a template or an expression that needs quotes, and YAML notices later."""
    by_quotes = "quotes" in error.problem or "indented" in error.problem
    for line in range(error.line, max(error.line - 3, 0), -1) if by_quotes else ():
        pair = _PLAIN.fullmatch(lines[line - 1]) if line <= len(lines) else None
        if pair is None:
            continue
        value = pair["value"]
        if value[0] == "{" and re.search(r":\s+{{", _QUOTED.sub("", value)):
            return line, "a text that begins with {{ is written in quotes"
        flow = pair["key"] in _COLLECTIONS and not value.startswith("{{")
        if value[0] in "{[%@`" and not flow:
            why = f"a text that begins with {'{{' if value.startswith('{{') else value[0]} is written in quotes"
        elif line == error.line and ": " in value and not flow:
            why = "a text that holds `: ` is written in quotes"
        else:
            continue
        return line, why if len(value) > _LONGEST_QUOTED else f"{why}: {pair['key']}: {quoted(value)}"
    return error.line, f"is not YAML, column {error.column}: {error.problem}" if error.column else error.problem


class _Parser:
    def __init__(self, file: str, findings: list[Finding], *, ignore_unknown_fields: bool) -> None:
        self._file = file
        self._ignores_unknown_fields = ignore_unknown_fields
        self._findings = findings
        self._group = self._rule = ""

    def report(self, line: int, message: str) -> None:
        self._findings.append(Finding(self._file, line, self._group, self._rule, message))

    def _report_at_root(self, line: int, message: str) -> None:
        self.report(line, message if "twice" in message else f"{message}; a rule file holds `groups` alone")

    def _fields(self, entry: Entry, known: frozenset[str], report: Callable[[int, str], None]) -> dict[str, Entry]:
        return fields(entry, None if self._ignores_unknown_fields else known, report)

    def groups(self, root: Entry) -> list[ParsedGroup]:
        groups: list[ParsedGroup] = []
        lines: dict[str, int] = {}
        for entry in self._items(self._fields(root, _FILE, self._report_at_root).get("groups", ABSENT)):
            group = self._parse_group(entry)
            if group.name in lines:
                self.report(group.line, f"group {group.name} is defined already, in line {lines[group.name]}")
            lines.setdefault(group.name, group.line)
            groups.append(group)
        return groups

    def _parse_group(self, entry: Entry) -> ParsedGroup:
        keys = self._fields(entry, _GROUP, self.report)
        self._group = name = self._text(keys.get("name", ABSENT)).text
        if not name:
            self.report(entry.line, "a group needs a name")
        interval = self._duration(keys["interval"]) if "interval" in keys else None
        limit = self._whole_number(keys.get("limit", ABSENT))
        query_offset = self._duration(keys.get("query_offset", ABSENT))
        labels = self._texts(keys.get("labels", ABSENT), "label")
        rules = self._parse_rules(self._items(keys.get("rules", ABSENT)), labels)
        self._group = self._rule = ""
        return ParsedGroup(self._file, entry.line, name, interval, rules, labels, max(limit, 0), query_offset)

    def _parse_rules(self, entries: list[Entry], labels: Mapping[str, Text]) -> tuple[ParsedRule, ...]:
        """An alias of a rule is that rule again, and parsed once."""
        by_node = {id(entry.node): entry for entry in entries}
        rules = {key: self._parse_rule(entry, labels) for key, entry in by_node.items()}
        return tuple(rule for entry in entries if (rule := rules[id(entry.node)]) is not None)

    def _parse_rule(self, entry: Entry, labels: Mapping[str, Text]) -> ParsedRule | None:
        self._rule = entry.scalar("alert") or entry.scalar("record")
        keys = self._fields(entry, _RULE, self.report)
        alert, record = (self._text(keys.get(key, ABSENT)).text for key in ("alert", "record"))
        key = "record" if record else "alert"
        line = max(keys[key].line, entry.line) if key in keys else entry.line
        if alert and record:
            self.report(line, "a rule has either `alert` or `record`")
            return None
        if not alert and not record:
            self.report(line, "a rule needs `alert` or `record`")
            return None
        expr = self._text(keys.get("expr", replace(ABSENT, line=line)))
        if not expr.text.strip():
            self.report(expr.line, "a rule needs `expr`")
            return None
        rule = ParsedRule(
            first_line=entry.line,
            line=line,
            name=alert or record,
            expr=expr,
            for_seconds=self._duration(keys.get("for", ABSENT)),
            keep_firing_for_seconds=self._duration(keys.get("keep_firing_for", ABSENT)),
            labels={**labels, **self._texts(keys.get("labels", ABSENT), "label")},
            annotations=self._texts(keys.get("annotations", ABSENT), "annotation"),
            is_recording=bool(record),
        )
        if record:
            self._check_recording(rule, keys)
        return rule

    def _check_recording(self, rule: ParsedRule, keys: Mapping[str, Entry]) -> None:
        of_alerts = {
            "for": rule.for_seconds,
            "keep_firing_for": rule.keep_firing_for_seconds,
            "annotations": rule.annotations,
        }
        for key in (key for key, value in of_alerts.items() if value):
            self.report(keys[key].line, f"`{key}` is for alerts: a rule that records has none")
        if not _SERIES_NAME.fullmatch(rule.name):
            hint = "; an expression stands in `expr`" if "{" in rule.name else ""
            why = (
                f"`{rule.name}` is not a name for a series: it has letters, digits, _ and : only, no digit first{hint}"
            )
            self.report(rule.line, why)

    def _items(self, key: Entry) -> list[Entry]:
        try:
            return list(key.items())
        except ValueError as error:
            self.report(key.line, str(error))
            return []

    def _text(self, key: Entry) -> Text:
        """What is no text is reported, and empty."""
        text = ""
        try:
            text = key.text()
        except ValueError as error:
            self.report(key.line, str(error))
        return Text(key.line, text, key)

    def _duration(self, key: Entry) -> float:
        duration = self._text(key)
        if key.is_null:
            return 0.0
        try:
            return parse_duration(duration.text)
        except ValueError as error:
            self.report(duration.line, str(error))
            return 0.0

    def _whole_number(self, key: Entry) -> int:
        if key.is_null:
            return 0
        node = key.node
        is_plain = isinstance(node, yaml.ScalarNode) and not node.style
        if not is_plain or _WHOLE_NUMBER.fullmatch(node.value) is None:
            self.report(key.line, "a limit is written as 10; without one, or with 0, there is none")
            return 0
        return int(node.value.replace("_", ""))

    def _texts(self, key: Entry, kind: str) -> Mapping[str, Text]:
        texts: dict[str, Text] = {}
        for name, value in fields(key, None, self.report).items():
            if not _LABEL_NAME.fullmatch(name) or (kind == "label" and name == "__name__"):
                article = "an" if kind == "annotation" else "a"
                self.report(value.line, f"`{name}` is not a name for {article} {kind}")
            else:
                texts[name] = self._text(value)
        return texts

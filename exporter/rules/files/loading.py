"""Rule files read and compiled, all or nothing."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from exporter import files
from exporter.errors import RuleFileInvalid
from exporter.rules.files.compiler import DEFAULTS, Compiler, Options
from exporter.rules.files.parser import ParsedGroup, ParsedRule, parse_file
from exporter.rules.finding import Finding
from exporter.rules.rule import AnyCompiledRule, CompiledAlertingRule, unexpanded_labels

MOST_BYTES: Final = 16_000_000
"""A larger file is refused: ten thousand rules with long descriptions have less."""


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """``interval_seconds`` is for Prometheus; this program evaluates rules at every poll.

    ``limit`` is the most alerts or series that one of its rules may have; 0: any number.
    """

    name: str
    file: str
    interval_seconds: float | None
    rules: tuple[AnyCompiledRule, ...]
    limit: int = 0


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All groups of all files, in order. ``checksum`` is that of the files' contents."""

    groups: tuple[RuleGroup, ...]
    checksum: str
    files: tuple[str, ...] = ()

    @property
    def alerting(self) -> tuple[CompiledAlertingRule, ...]:
        """Those of the rules that raise alerts."""
        return tuple(rule for rule in self.rules if rule.kind == "alerting")

    @property
    def rules(self) -> tuple[AnyCompiledRule, ...]:
        return tuple(rule for group in self.groups for rule in group.rules)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The outcome of loading rule files: what could be read and compiled, and what is wrong with the rest.

    ``contents`` by file. ``groups`` are as written; ``compiled`` are the rules that compile, each with its group
    and itself as written.
    """

    contents: Mapping[str, bytes]
    groups: tuple[ParsedGroup, ...]
    compiled: tuple[tuple[ParsedGroup, ParsedRule, AnyCompiledRule], ...]
    rule_set: RuleSet
    errors: tuple[Finding, ...]

    def accepted(self, *, allow_none: bool = True) -> RuleSet:
        """Returns the rule set.

        Raises RuleFileInvalid with all errors; unless ``allow_none``, also where there is no rule: a file that was
        emptied would resolve every alert.
        """
        errors = self.errors
        if not errors and not self.rule_set.rules and not allow_none:
            message = "there is no rule at all; where that is meant, set rules.allow_none"
            errors = (Finding(", ".join(self.contents), 0, "", "", message),)
        if errors:
            raise RuleFileInvalid("\n".join(map(str, errors)), errors)
        return self.rule_set


def load(patterns: Sequence[str], options: Options = DEFAULTS, *, allow_none: bool = True) -> RuleSet:
    """Reads and compiles the rule files. Raises RuleFileInvalid where `Attempt.accepted` does."""
    return attempt(patterns, options).accepted(allow_none=allow_none)


def attempt(patterns: Sequence[str], options: Options = DEFAULTS) -> Attempt:
    """Reads and compiles what can be."""
    findings = [
        Finding(pattern, 0, "", "", "no rule file matches") for pattern in patterns if not matching_files([pattern])
    ]
    parsed: list[ParsedGroup] = []
    contents: dict[str, bytes] = {}
    for file in matching_files(patterns):
        try:
            contents[file] = files.read(file, MOST_BYTES)
        except OSError as error:
            findings.append(Finding(file, 0, "", "", f"cannot be read: {error.strerror}"))
            continue
        parsed += parse_file(file, contents[file], findings, ignore_unknown_fields=options.ignore_unknown_fields)
    compiler = Compiler(options, parsed, findings)
    groups: list[RuleGroup] = []
    compiled: list[tuple[ParsedGroup, ParsedRule, AnyCompiledRule]] = []
    for group in parsed:
        rules = _compile_group(compiler, group)
        compiled += [(group, written, rule) for written, rule in rules]
        of_group = tuple(rule for _, rule in rules)
        groups.append(RuleGroup(group.name, group.file, group.interval_seconds, of_group, group.limit))
    compiler.unexpanded |= unexpanded_labels(rule for _, _, rule in compiled)
    # What an expression holds twice is reported once.
    errors = sorted(dict.fromkeys(findings), key=attrgetter("file", "line"))
    rule_set = RuleSet(tuple(groups), _digest(contents), tuple(contents))
    return Attempt(contents, tuple(parsed), tuple(compiled), rule_set, tuple(errors))


def checksum(patterns: Sequence[str]) -> str:
    """Returns what changes when a file's contents do, or when one comes, goes, or can't be read."""
    contents: dict[str, bytes] = {}
    for file in matching_files(patterns):
        try:
            contents[file] = b"+" + files.read(file, MOST_BYTES)
        except OSError as error:
            contents[file] = b"-" + str(error.errno).encode()
    return _digest(contents)


def matching_files(patterns: Sequence[str]) -> list[str]:
    """Returns the files that match, each once, in the order of the patterns."""
    names: dict[str, None] = {}
    for pattern in patterns:
        names |= dict.fromkeys(sorted(glob.glob(pattern)))  # noqa: PTH207 - a Path can't glob an absolute pattern
    return list(names)


def _digest(contents: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for file, content in contents.items():
        digest.update(f"{file}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _compile_group(compiler: Compiler, group: ParsedGroup) -> list[tuple[ParsedRule, AnyCompiledRule]]:
    """Returns the group's rules that compile, each beside itself as written."""
    compiled = {key: compiler.rule(group, rule) for key, rule in {id(rule): rule for rule in group.rules}.items()}
    return [(written, rule) for written in group.rules if (rule := compiled[id(written)]) is not None]

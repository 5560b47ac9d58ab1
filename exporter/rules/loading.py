"""Rule files: read, compiled, all or nothing."""

from __future__ import annotations

import glob
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporter import files
from exporter.errors import RuleFileInvalid
from exporter.rules.compiling import compile_group
from exporter.rules.finding import Finding
from exporter.rules.parsing import ParsedGroup, parse_file
from exporter.rules.promql.selecting import AlertNames
from exporter.rules.promql.sources import LatestSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.rules.rule import CompiledRule


MOST_BYTES: Final = 1_000_000
"""A larger file is refused: taking it apart would keep a running reconciler from its polls."""


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """``interval_seconds`` sets Prometheus' timer; here polls evaluate."""

    name: str
    file: str
    interval_seconds: float | None
    rules: tuple[CompiledRule, ...]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All groups of all files, in order. ``checksum`` is that of the files' contents."""

    groups: tuple[RuleGroup, ...]
    checksum: str
    files: tuple[str, ...] = ()

    @property
    def rules(self) -> tuple[CompiledRule, ...]:
        return tuple(rule for group in self.groups for rule in group.rules)


def load(patterns: Sequence[str], *, allow_none: bool = True) -> RuleSet:
    """Reads and compiles the rule files.

    Raises RuleFileInvalid with everything that was found; unless ``allow_none``,
    also where there is no rule: a file that was emptied would resolve every alert.
    """
    made = attempt(patterns)
    if made.errors:
        raise RuleFileInvalid("\n".join(map(str, made.errors)), made.errors)
    if not made.rule_set.rules and not allow_none:
        found = Finding(
            ", ".join(matching_files(patterns) or patterns),
            0,
            "",
            "",
            "there is no rule at all; where that is meant, set rules.allow_none",
        )
        raise RuleFileInvalid(str(found), (found,))
    return made.rule_set


@dataclass(frozen=True, slots=True)
class Attempt:
    """What of the rule files could be read (``parsed``) and compiled, and what is wrong with the rest."""

    parsed: tuple[ParsedGroup, ...]
    rule_set: RuleSet
    errors: tuple[Finding, ...]


def attempt(patterns: Sequence[str]) -> Attempt:
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
        parsed += parse_file(file, contents[file], findings)
    sources = LatestSource()
    with_rules = [group for group in parsed if group.rules]
    groups = [
        RuleGroup(
            group.name,
            group.file,
            group.interval_seconds,
            compile_group(group, _names(group, with_rules), sources, findings),
        )
        for group in parsed
    ]
    # What an expression holds twice is found twice.
    found = sorted(dict.fromkeys(findings), key=lambda finding: (finding.file, finding.line))
    return Attempt(tuple(parsed), RuleSet(tuple(groups), _digest(contents), tuple(contents)), tuple(found))


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
    found: dict[str, None] = {}
    for pattern in patterns:
        found |= dict.fromkeys(sorted(glob.glob(pattern)))  # noqa: PTH207 - a Path can't glob an absolute pattern
    return list(found)


def _digest(contents: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for file, content in contents.items():
        digest.update(f"{file}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _names(group: ParsedGroup, groups: Sequence[ParsedGroup]) -> AlertNames:
    others = {rule.name: other.name for other in groups if other is not group for rule in other.rules}
    return AlertNames(frozenset(rule.name for rule in group.rules), others)

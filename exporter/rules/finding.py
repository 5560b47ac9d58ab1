"""What is wrong, or could be better, in a rule file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from exporter.errors import sentence


@dataclass(frozen=True, slots=True)
class Location:
    """A line of a file, and a column of it (0: the line as a whole), both from 1."""

    line: int
    column: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """An error or a warning at a line of a file; line 0: about the whole file. ``group`` and ``rule`` may be empty.

    ``check`` is the name of the check that warns; empty for what keeps the file from loading. ``column`` is that of
    what is wrong within an expression; 0: it is about the line.
    """

    file: str
    line: int
    group: str
    rule: str
    message: str
    severity: Literal["error", "warning"] = "error"
    check: str = ""
    column: int = 0

    def __str__(self) -> str:
        subject = "/".join(filter(None, (self.group, self.rule)))
        line = f":{self.line}" if self.line else ""
        message = " ".join(sentence(self.message).splitlines())
        check = f" ({self.check})" if self.check else ""
        column = f"column {self.column}: " if self.column else ""
        return f"{self.file}{line}: {subject + ': ' if subject else ''}{self.severity}: {column}{message}{check}"

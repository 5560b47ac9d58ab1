"""What is wrong, or could be better, in a rule file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found at a line of a file. ``group`` and ``rule`` are empty where it is not about one."""

    file: str
    line: int
    group: str
    rule: str
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = "/".join(filter(None, (self.group, self.rule)))
        return f"{self.file}:{self.line}: {place + ': ' if place else ''}{self.message}"

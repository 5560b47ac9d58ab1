"""What is wrong, or could be better, in a rule file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from exporter.errors import sentence


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found at a line of a file; 0: it is about the whole file. ``group`` and ``rule`` may be empty."""

    file: str
    line: int
    group: str
    rule: str
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = "/".join(filter(None, (self.group, self.rule)))
        line = f":{self.line}" if self.line else ""
        message = " ".join(sentence(self.message).splitlines())
        return f"{self.file}{line}: {place + ': ' if place else ''}{self.severity}: {message}"

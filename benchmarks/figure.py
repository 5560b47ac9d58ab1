"""What a benchmark measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. ``aim`` is text for people; ``met`` None where there is none to meet."""

    name: str
    value: float
    unit: str
    aim: str = ""
    met: bool | None = None

    def __str__(self) -> str:
        verdict = "" if self.met is None else ("  met" if self.met else "  MISSED")
        aim = f"  (aim: {self.aim})" if self.aim else ""
        return f"{self.name:<62} {self.value:>12,.2f} {self.unit:<6}{aim}{verdict}"

"""What was logged, as events and their fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


def logged(caplog: pytest.LogCaptureFixture, *fields: str) -> list[tuple[Any, ...]]:
    """Returns each event, with the fields that are asked for ("" where it has no such field)."""
    return [(record.getMessage(), *(getattr(record, field, "") for field in fields)) for record in caplog.records]

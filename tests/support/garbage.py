"""The garbage collector, switched off: what is left behind stays."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def uncollected() -> Iterator[None]:
    """Begins without garbage, and makes no collection."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

"""SQL by name, from the ``.sql`` files beside this module.

A file holds queries of this form; parameters are psycopg's (``%(name)s``)::

    -- take_lease --
    -- What it is for, in a sentence.
    UPDATE ...
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

DIRECTORY: Final = Path(__file__).resolve().parent
_HEADING: Final = re.compile(r"^-- (\w+) --\n(?=-- .+\n)", re.MULTILINE)


@cache
def load(name: str) -> Mapping[str, bytes]:
    """Returns the queries of ``name``.sql."""
    _preamble, *parts = _HEADING.split((DIRECTORY / f"{name}.sql").read_text("utf-8"))
    return MappingProxyType({title: text.strip().encode() for title, text in zip(parts[::2], parts[1::2], strict=True)})

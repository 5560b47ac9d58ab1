"""The command ``dict-rate-limit`` as an installer writes it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from tests.support.program import ROOT

if TYPE_CHECKING:
    from pathlib import Path

TEXT = f"""\
#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from exporter.__main__ import main
if __name__ == '__main__':
    sys.exit(main())
"""


def script(folder: Path) -> Path:
    """Writes it into ``folder``, and returns it."""
    made = folder / "dict-rate-limit"
    made.write_text(TEXT)
    made.chmod(0o755)
    return made


def environment(**given: str) -> dict[str, str]:
    """What this process has, without settings of the program, and ``given``."""
    left = {name: value for name, value in os.environ.items() if not name.startswith("DICT_RATE_LIMIT_")}
    return left | given

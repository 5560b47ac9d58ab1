"""Writes ``grafana/dashboards/*.json``; with ``--check`` says which of them are not current.

python -m grafana.generate [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.boards import bucket, capacity, health, overview

if TYPE_CHECKING:
    from collections.abc import Sequence

DIRECTORY: Final = Path(__file__).parent / "dashboards"


def generated() -> dict[Path, str]:
    """Returns what each file should hold."""
    made = {}
    for name, module in (("overview", overview), ("bucket", bucket), ("capacity", capacity), ("health", health)):
        dashboard = json.loads(json.dumps(module.dashboard().build(), cls=JSONEncoder))
        for number, panel in enumerate(dashboard["panels"], start=1):
            panel["id"] = number
        made[DIRECTORY / f"{name}.json"] = json.dumps(dashboard, indent=2, sort_keys=True) + "\n"
    return made


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    stale = [path for path, text in generated().items() if not path.is_file() or path.read_text() != text]
    if list(arguments) == ["--check"]:
        for path in stale:
            sys.stderr.write(f"{path}: is not what python -m grafana.generate makes\n")
        return 1 if stale else 0
    if arguments:
        sys.stderr.write("usage: python -m grafana.generate [--check]\n")
        return 2
    for path in stale:
        path.write_text(generated()[path])
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Writes what Prometheus loads, from ``rules/*.yml``; with ``--check`` says which files are not current.

python -m alertmanager.generate [--check]

``dict-rate-limit rules export`` does it for rules of your own. The manifests for
Kubernetes get a copy of the rules, too: kustomize reads no file outside its folder.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exporter.rules import export

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE: Final = Path(__file__).parent
RULES: Final = HERE.parent / "rules"
ALERTS: Final = HERE / "alerts.yml"
META_ALERTS: Final = HERE / "meta-alerts.yml"
KUBERNETES: Final = HERE.parent / "deploy" / "kubernetes" / "base"
PROMETHEUS_RULE: Final = KUBERNETES / "prometheusrule.yaml"

_HEADER: Final = "# Made by python -m alertmanager.generate from {}: change these instead.\n"


def generated() -> dict[Path, str]:
    """Returns what each file should hold."""
    shipped = sorted(RULES.glob("*.yml"))
    patterns = [str(path) for path in shipped]
    names = ", ".join(f"rules/{path.name}" for path in shipped)
    alerts = export.rule_file(patterns)
    with_meta = export.custom_resource(export.rule_file(patterns, [META_ALERTS]))
    return {
        ALERTS: _HEADER.format(names) + export.to_yaml(alerts),
        PROMETHEUS_RULE: _HEADER.format(f"{names} and alertmanager/{META_ALERTS.name}") + export.to_yaml(with_meta),
        **{KUBERNETES / "rules" / path.name: path.read_text() for path in shipped},
    }


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    if list(arguments) not in ([], ["--check"]):
        sys.stderr.write("usage: python -m alertmanager.generate [--check]\n")
        return 2
    stale = {path: text for path, text in generated().items() if not path.is_file() or path.read_text() != text}
    for path, text in stale.items():
        if arguments:
            sys.stderr.write(f"{path}: is not what python -m alertmanager.generate makes\n")
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            sys.stdout.write(f"{path}\n")
    return 1 if arguments and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Writes what Prometheus loads, from ``rules/*.yml``; with ``--check`` says which files are not current.

python -m alertmanager.generate [--check]

``alerts.yml`` is the shipped rules with annotations more: the figures that a
notification should hold. Prometheus finds them by a query, which the
reconciler's templates cannot make; names, expressions and labels are the same,
so the verdict is too. ``prometheusrule.yaml`` is the same for the Prometheus
operator, with the meta-alerts.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE: Final = Path(__file__).parent
RULES: Final = HERE.parent / "rules"
ALERTS: Final = HERE / "alerts.yml"
META_ALERTS: Final = HERE / "meta-alerts.yml"
PROMETHEUS_RULE: Final = HERE.parent / "deploy" / "kubernetes" / "base" / "prometheusrule.yaml"

_HEADER: Final = "# Made by python -m alertmanager.generate from {}: change these instead.\n"


def _figure(expr: str, shown: str, otherwise: str) -> str:
    """Returns a template that shows what a query of the alert's bucket finds; empty without a bucket."""
    found = f"printf `{expr}` $labels.participant $labels.policy | query"
    shown = f"{{{{ . | first | value | {shown} }}}}"
    return (
        f"{{{{ if $labels.policy }}}}{{{{ with {found} }}}}{shown}{{{{ else }}}}{otherwise}{{{{ end }}}}{{{{ end }}}}"
    )


_WHO: Final = '{participant="%s", policy="%s"}'
FIGURES: Final = {
    "tokens": _figure(f"max(dict_rate_limit_available_tokens{_WHO})", 'printf "%.0f"', "unknown"),
    "capacity": _figure(f"max(dict_rate_limit_capacity{_WHO})", 'printf "%.0f"', "unknown"),
    "used": _figure(f"max(dict_rate_limit_utilization_percent{_WHO})", 'printf "%.1f %%"', "unknown"),
    "empty_in": _figure(
        f"max(dict_rate_limit_exhaustion_projection_seconds{_WHO}) < Inf", "humanizeDuration", "not draining"
    ),
    "full_in": _figure(f"max(dict_rate_limit_recovery_eta_seconds{_WHO})", "humanizeDuration", "unknown"),
    "full_at": _figure(f"time() + max(dict_rate_limit_recovery_eta_seconds{_WHO})", "humanizeTimestamp", "unknown"),
}
"""Annotations, by name: what Alertmanager's templates show of a bucket."""


class _Dumper(yaml.SafeDumper):
    """Expressions of several lines stay as they are."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def generated() -> dict[Path, str]:
    """Returns what each file should hold."""
    shipped = sorted(RULES.glob("*.yml"))
    alerts = [_with_figures(group) for path in shipped for group in _groups(path)]
    names = ", ".join(f"rules/{path.name}" for path in shipped)
    custom_resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "dict-rate-limit"},
        "spec": {"groups": [*alerts, *_groups(META_ALERTS)]},
    }
    return {
        ALERTS: _HEADER.format(names) + _dumped({"groups": alerts}),
        PROMETHEUS_RULE: _HEADER.format(f"{names} and alertmanager/{META_ALERTS.name}") + _dumped(custom_resource),
    }


def _groups(path: Path) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(path.read_text())["groups"]
    return groups


def _with_figures(group: dict[str, Any]) -> dict[str, Any]:
    rules = [
        {**{k: v for k, v in rule.items() if k != "annotations"}, "annotations": {**rule["annotations"], **FIGURES}}
        for rule in group["rules"]
    ]
    return {**group, "rules": rules}


def _dumped(value: dict[str, Any]) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


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
            path.write_text(text)
            sys.stdout.write(f"{path}\n")
    return 1 if arguments and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

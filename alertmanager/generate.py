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


_SECONDS: Final = 'humanizeDuration | reReplaceAll "m" " min" | reReplaceAll "([0-9])([dhs])" "$1 $2"'
"""Shows whole seconds: ``10 min 5 s``."""

_TIME: Final = (
    '{{ $t := . | first | value | toTime }}{{ $t.UTC.Format "2006-01-02 15:04:05 UTC" }}'
    '{{ if ne ($t.Local.Format "-0700") "+0000" }}{{ $t.Local.Format " (15:04:05 MST)" }}{{ end }}'
)
"""Shows a time: UTC, and beside it the time of the zone that Prometheus runs in (TZ)."""

_WHO: Final = '{participant="%s", policy="%s"}'
_BUCKET: Final = '{participant="%[1]s", policy="%[2]s"}'
_PARTICIPANT: Final = '{participant="%[1]s"}'


def _query(expr: str, *arguments: str) -> str:
    return " ".join([f"printf `{expr}` $labels.participant $labels.policy", *arguments, "| query"])


def _figure(expr: str, shown: str) -> str:
    """Returns a template that shows what a query of the alert's bucket finds."""
    found = shown if shown.startswith("{{") else f"{{{{ . | first | value | {shown} }}}}"
    return _of_bucket(f"{{{{ with {_query(expr)} }}}}{found}{{{{ end }}}}")


def _of_bucket(template: str) -> str:
    return f"{{{{ if $labels.policy }}}}{template}{{{{ end }}}}"


def _lowest(alert: str) -> str:
    """Returns a template that shows the lowest level since the alert became active, or a minute before."""
    tokens = f"dict_rate_limit_available_tokens{_WHO}"
    age = _query(f'time() - max(ALERTS_FOR_STATE{{alertname="{alert}", participant="%s", policy="%s"}}) + 60')
    least = _query(f"min(min_over_time({tokens}[%.0fs]))", "$age")
    return _of_bucket(
        f"{{{{ $age := 60.0 }}}}{{{{ with {age} }}}}{{{{ $age = . | first | value }}}}{{{{ end }}}}"
        f'{{{{ with {least} }}}}{{{{ . | first | value | printf "%.0f" }}}}{{{{ end }}}}'
    )


def figures(alert: str) -> dict[str, str]:
    """Returns annotations, by name: what Alertmanager's templates show of a bucket. What is not known is empty.

    ``exporter.notifier`` gives the same names and formats to what it sends itself.
    """
    seconds_to_empty = _query(f"round(max(dict_rate_limit_exhaustion_projection_seconds{_WHO}))")
    is_down = _query(f"max(dict_rate_limit_up{_PARTICIPANT}) == 0")
    is_refused = _query(
        f"max(dict_rate_limit_refused_policies{_PARTICIPANT}) > 0"
        f" unless on () dict_rate_limit_available_tokens{_BUCKET}"
    )
    return {
        "tokens": _figure(f"max(dict_rate_limit_available_tokens{_WHO})", 'printf "%.0f"'),
        "capacity": _figure(f"max(dict_rate_limit_capacity{_WHO})", 'printf "%.0f"'),
        "used": _figure(f"max(dict_rate_limit_utilization_percent{_WHO})", 'printf "%.1f %%"'),
        "lowest": _lowest(alert),
        "empty_in": _of_bucket(
            f"{{{{ with {seconds_to_empty} }}}}{{{{ $s := . | first | value }}}}"
            f"{{{{ if lt $s 1e15 }}}}{{{{ $s | {_SECONDS} }}}}{{{{ else }}}}not draining{{{{ end }}}}{{{{ end }}}}"
        ),
        "full_in": _figure(f"round(max(dict_rate_limit_recovery_eta_seconds{_WHO}))", _SECONDS),
        "full_at": _figure(f"round(time() + max(dict_rate_limit_recovery_eta_seconds{_WHO}))", _TIME),
        "as_of": _figure(f"round(max(dict_rate_limit_last_success_timestamp_seconds{_PARTICIPANT}))", _TIME),
        "held": _of_bucket(
            f"{{{{ with {is_down} }}}}the Bridge stopped answering{{{{ else }}}}"
            f"{{{{ with {is_refused} }}}}its figures were refused{{{{ end }}}}{{{{ end }}}}"
        ),
    }


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
        {
            **{k: v for k, v in rule.items() if k != "annotations"},
            "annotations": {**rule["annotations"], **figures(rule["alert"])},
        }
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

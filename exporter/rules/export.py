"""Rule files for Prometheus, with the figures that a notification shows.

Prometheus gets these by queries in annotations, which the reconciler's templates
do not support. Names, expressions and labels stay as they are, and so do the alerts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from exporter import files, yaml_text
from exporter.errors import RuleFileInvalid, YamlInvalid
from exporter.rules.files import loading

_SECONDS: Final = (
    'humanizeDuration | reReplaceAll "m" " min" | reReplaceAll "([0-9])([dhs])" "$1 $2"'
    ' | reReplaceAll "^(\\\\S+ \\\\S+ \\\\S+ \\\\S+) .*" "$1" | reReplaceAll " 0 [a-z]+$" ""'
)
"""Shows whole seconds in the two largest units, as `durations.in_words`: ``10 min 5 s``, ``2 h 4 min``."""

_TIME: Final = (
    '{{ $t := . | first | value | toTime }}{{ $t.UTC.Format "2006-01-02 15:04:05 UTC" }}'
    '{{ if ne ($t.Local.Format "-0700") "+0000" }}{{ $t.Local.Format " (15:04:05 MST)" }}'
    '{{ else }}{{ ($t.Add -10800000000000).UTC.Format " (15:04:05" }} -03){{ end }}'
)
"""Shows a time: UTC, and beside it that of the zone that Prometheus runs in (TZ); where that is UTC, São Paulo's.

São Paulo is three hours behind all year, since 2019. Templates know no zone by its name.
"""

_WHO: Final = '{participant="%s", policy="%s"}'
_BUCKET: Final = '{participant="%[1]s", policy="%[2]s"}'
_PARTICIPANT: Final = '{participant="%[1]s"}'
_REFUSED: Final = 'dict_rate_limit_responses_total{participant="%[1]s", policy="%[2]s", outcome="rate_limited"}'


def _query(expr: str, *arguments: str) -> str:
    return " ".join([f"printf `{expr}` $labels.participant $labels.policy", *arguments, "| query"])


def _figure(expr: str, form: str) -> str:
    """Returns a template that shows the result of a query about the alert's bucket in a form."""
    result = form if form.startswith("{{") else f"{{{{ . | first | value | {form} }}}}"
    return _of_bucket(f"{{{{ with {_query(expr)} }}}}{result}{{{{ end }}}}")


def _of_bucket(template: str) -> str:
    return f"{{{{ if $labels.policy }}}}{template}{{{{ end }}}}"


def _since_alert(alert: str, expr: str) -> str:
    """Returns a template that shows a count over the time since a minute before the alert became active."""
    age = _query(f'time() - max(ALERTS_FOR_STATE{{alertname="{alert}", participant="%s", policy="%s"}}) + 60')
    over_age = _query(expr, "$age")
    return _of_bucket(
        f"{{{{ $age := 60.0 }}}}{{{{ with {age} }}}}{{{{ $age = . | first | value }}}}{{{{ end }}}}"
        f'{{{{ with {over_age} }}}}{{{{ . | first | value | printf "%.0f" }}}}{{{{ end }}}}'
    )


def figures(alert: str) -> dict[str, str]:
    """Returns annotations, by name: what Alertmanager's templates show of a bucket. One without a value is empty.

    The notifier uses the same names and formats in what it sends itself.
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
        "lowest": _since_alert(alert, f"min(min_over_time(dict_rate_limit_lowest_available_tokens{_WHO}[%.0fs]))"),
        # Not by `increase`: it extrapolates, and would tell calls that nobody made. Counts of several Bridge instances,
        # which answer in turn, are no counter: it would be reset.
        "refused": _since_alert(
            alert,
            f"max(({_REFUSED} - min_over_time({_REFUSED}[%.0[3]fs]))"
            f" and on (participant, policy) resets({_REFUSED}[%.0[3]fs]) == 0"
            f" and on (participant, policy) max_over_time(dict_rate_limit_error_429_rate{_BUCKET}[%.0[3]fs]) > 0) > 0",
        ),
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


def rule_file(patterns: Sequence[str], unchanged: Sequence[Path] = ()) -> dict[str, Any]:
    """Returns the groups of rule files with `figures`, and, unchanged, those of files that only Prometheus evaluates.

    Raises RuleFileInvalid where `loading.load` does, or where one of the others cannot be read or has no groups.
    """
    loading.load(patterns)
    annotated = [_annotated(group) for file in loading.matching_files(patterns) for group in _groups(file)]
    return {"groups": [*annotated, *(group for path in unchanged for group in _groups(str(path)))]}


def custom_resource(groups: dict[str, Any], name: str = "dict-rate-limit") -> dict[str, Any]:
    """Returns the groups as the Prometheus operator takes them."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": name},
        "spec": groups,
    }


def to_yaml(document: dict[str, Any]) -> str:
    """Returns the document as YAML for people to read."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def _annotated(group: dict[str, Any]) -> dict[str, Any]:
    rules = [dict(rule) for rule in group.get("rules") or () if rule is not None]
    for rule in (rule for rule in rules if rule.get("alert")):
        annotations = rule.pop("annotations", None) or {}
        rule["annotations"] = {**annotations, **figures(rule["alert"])}
    return {**group, "rules": rules}


def _groups(file: str) -> list[dict[str, Any]]:
    try:
        document = yaml_text.read(files.read(file, loading.MOST_BYTES)) or {}
    except (OSError, YamlInvalid) as error:
        raise RuleFileInvalid(f"{file}: {error}") from None
    groups = document.get("groups") if isinstance(document, dict) else None
    if not isinstance(groups, list):
        raise RuleFileInvalid(f"{file}: is not a rule file: it has no list of groups")
    return [group for group in groups if group is not None]


class _Dumper(yaml.SafeDumper):
    """Expressions of several lines stay as they are."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)

"""The JSON API: alerts and rules as Prometheus answers them, and the buckets as docs/http-api.md describes them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from exporter.alerts.alert import Alert, AlertState
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import View, VisibleBucket
from exporter.numbers import for_json, not_finite
from exporter.web.sources import RuleGroupStatus, RuleStatus

NEVER: Final = "0001-01-01T00:00:00Z"
"""How Go, and so Prometheus, writes that there is no time."""

_encode = msgspec.json.Encoder().encode


def alerts_json(alerts: Sequence[Alert], warning: str | None = None) -> bytes:
    """Returns the body of ``/api/v1/alerts``; ``warning`` says why these may not be the alerts of now."""
    return success_json({"alerts": [_alert(alert) for alert in alerts]}, warning)


def rules_json(
    groups: Sequence[RuleGroupStatus],
    alerts: Sequence[Alert],
    *,
    kind: str = "",
    rule_names: Collection[str] = (),
    group_names: Collection[str] = (),
    files: Collection[str] = (),
    with_alerts: bool = True,
    warning: str | None = None,
) -> bytes:
    """Returns the body of ``/api/v1/rules``; an empty filter lets everything through. ``kind`` is that of rules."""
    by_rule: dict[tuple[str, str], list[Alert]] = defaultdict(list)
    for alert in alerts:
        by_rule[alert.group, alert.name].append(alert)
    bodies = []
    for group in groups:
        rules = [
            rule for rule in group.rules if kind in ("", rule.kind) and (not rule_names or rule.name in rule_names)
        ]
        if (group_names and group.name not in group_names) or (files and group.file not in files):
            continue
        if not rules and (kind or rule_names):
            continue
        evaluated = [rule.evaluated_at for rule in rules if rule.evaluated_at is not None]
        body = {
            "name": group.name,
            "file": group.file,
            "rules": [_rule(rule, by_rule[group.name, rule.name], with_alerts=with_alerts) for rule in rules],
            "interval": group.interval_seconds,
            "limit": group.limit,
            "evaluationTime": sum(rule.duration_seconds for rule in rules),
            "lastEvaluation": go_time(max(evaluated, default=None)),
        }
        bodies.append(body)
    return success_json({"groups": bodies}, warning)


def success_json(data: dict[str, Any], warning: str | None = None) -> bytes:
    """Returns the body of an answer, as Prometheus answers."""
    return _encode({"status": "success", "data": data} | ({"warnings": [warning]} if warning is not None else {}))


def error_json(kind: str, message: str) -> bytes:
    """Returns the body of an error, as Prometheus answers it."""
    return _encode({"status": "error", "errorType": kind, "error": message})


def buckets_json(
    views: Mapping[Ispb, View], participants: Collection[str] = (), policies: Collection[str] = ()
) -> Iterator[bytes]:
    """Yields the body of ``/api/v1/buckets``, one participant at a time."""
    yield b'{"status":"success","data":{"participants":['
    selected = [participant for participant in sorted(views) if not participants or participant in participants]
    for index, participant in enumerate(selected):
        yield (b"," if index else b"") + _encode(_participant(views[participant], policies))
    yield b"]}}"


def go_time(at: datetime | None) -> str:
    """Returns a time as Prometheus' API writes it."""
    return NEVER if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def go_float(value: float) -> str:
    """Returns a float as Prometheus' API writes an alert's value: ``8.5e+01``."""
    if not math.isfinite(value):
        return not_finite(value)
    mantissa, exponent = f"{Decimal(repr(value)).normalize():e}".split("e")
    return f"{mantissa}e{int(exponent):+03d}"


def _alert(alert: Alert) -> dict[str, Any]:
    body: dict[str, Any] = {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "state": alert.state.value,
        "activeAt": go_time(alert.active_since),
        "value": go_float(alert.value),
    }
    if alert.keep_firing_since is not None:
        body["keepFiringSince"] = go_time(alert.keep_firing_since)
    return body


def _rule(rule: RuleStatus, of_name: Sequence[Alert], *, with_alerts: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"name": rule.name, "query": rule.expr, "labels": dict(rule.labels)}
    if rule.kind == "alerting":
        body |= _alerting_rule(rule, of_name, with_alerts=with_alerts)
    body |= {
        "health": rule.health,
        "evaluationTime": rule.duration_seconds,
        "lastEvaluation": go_time(rule.evaluated_at),
        "type": rule.kind,
    }
    if rule.last_error:
        body["lastError"] = rule.last_error
    return body


def _alerting_rule(rule: RuleStatus, of_name: Sequence[Alert], *, with_alerts: bool) -> dict[str, Any]:
    # Rules of one name differ in their labels, of which templates are not known here.
    fixed = {name: value for name, value in rule.labels.items() if "{{" not in value}.items()
    alerts = [alert for alert in of_name if fixed <= alert.labels.items()]
    states = {alert.state for alert in alerts}
    state = next((s.value for s in (AlertState.FIRING, AlertState.PENDING) if s in states), "inactive")
    return {
        "state": state,
        "duration": rule.for_seconds,
        "keepFiringFor": rule.keep_firing_for_seconds,
        "annotations": dict(rule.annotations),
        "alerts": [_alert(alert) for alert in alerts] if with_alerts else [],
    }


def _participant(view: View, policies: Collection[str]) -> dict[str, Any]:
    poll = view.poll
    return {
        "participant": poll.participant,
        "up": view.up,
        "psp_category": view.category,
        "polled_at": go_time(poll.polled_at),
        "last_success_at": poll.last_success_at and go_time(poll.last_success_at),
        "poll_interval_seconds": poll.interval_seconds,
        "buckets": [_bucket(visible) for policy, visible in view.buckets.items() if not policies or policy in policies],
    }


def _bucket(visible: VisibleBucket) -> dict[str, Any]:
    observation = visible.observation
    bucket = observation.bucket
    return {
        "policy": bucket.policy,
        "available_tokens": bucket.available_tokens,
        "capacity": bucket.capacity,
        "refill_tokens": bucket.refill_tokens,
        "refill_period_seconds": bucket.refill_period_seconds,
        "utilization_percent": bucket.utilization_percent,
        "consumption_rate_per_minute": observation.consumption_rate_per_minute,
        "recovery_eta_seconds": bucket.recovery_eta_seconds,
        "exhaustion_projection_seconds": for_json(observation.exhaustion_projection_seconds),
        "error_404_rate": observation.error_404_rate,
        "error_429_rate": observation.error_429_rate,
        "lowest_available_tokens": observation.lowest_tokens,
        "observed_at": go_time(visible.observed_at),
    }

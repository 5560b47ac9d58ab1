"""*Bucket*: one policy of one participant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from grafana import panels as p
from grafana.panels import Column, big_number, graph, promql, rows, sql, sql_annotation

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

    from grafana.panels import Panel

WHO = 'participant="$participant", policy="$policy"'
_SQL_WHO = "participant = ${participant:sqlstring} AND policy = ${policy:sqlstring}"


def one(metric: str) -> str:
    return f"max(dict_rate_limit_{metric}{{{WHO}}})"


def dashboard() -> Dashboard:
    made = (
        p.new(
            "DICT rate limits / Bucket",
            p.BUCKET,
            since="now-1h",
            refresh="15s",
            description="One token bucket: tokens, consumption against refill, projection and recovery, alerts.",
        )
        .with_variable(p.variable("participant", "Participant", "label_values(dict_rate_limit_capacity, participant)"))
        .with_variable(
            p.variable("policy", "Policy", 'label_values(dict_rate_limit_capacity{participant="$participant"}, policy)')
        )
    )
    for name, severity, colour in (("Critical alerts", "critical", "red"), ("Warnings", "warning", "orange")):
        made.annotation(sql_annotation(name, _firing(severity), colour))
    for panel in (*_figures(), *_graphs(), _history()):
        made.with_panel(panel)
    return made


def _firing(severity: str) -> str:
    return f"""
        SELECT firing_since AS time, coalesce(resolved_at, now()) AS timeend, alertname AS text, severity AS tags
          FROM dict_rate_limit_alerts
         WHERE {_SQL_WHO} AND severity = '{severity}'
           AND firing_since <= $__timeTo() AND coalesce(resolved_at, now()) >= $__timeFrom()
    """


def _figures() -> tuple[Panel, ...]:
    return (
        big_number(
            "Remaining",
            f"100 - {one('utilization_percent')}",
            unit="percent",
            decimals=1,
            steps=p.REMAINING,
        ),
        big_number("Tokens", one("available_tokens"), unit=p.TOKENS, decimals=0),
        big_number("Capacity", one("capacity"), unit=p.TOKENS, decimals=0),
        big_number(
            "Consumed per minute",
            one("consumption_rate_per_minute"),
            unit=p.TOKENS,
            decimals=1,
            no_value="not known yet",
            description="Refill added back, net of tokens given back. A lower bound near a full bucket.",
        ),
        big_number(
            "Empty in",
            f"{one('exhaustion_projection_seconds')} < Inf",
            unit="s",
            decimals=1,
            steps=p.TIME_LEFT,
            no_value="not draining",
            description="At the recent net drain.",
        ),
        big_number("Full in", one("recovery_eta_seconds"), unit="s", decimals=1, description="If nothing is consumed."),
    )


def _graphs() -> tuple[Panel, ...]:
    limits = [
        DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [8, 8]}),
        DynamicConfigValue(id_val="custom.fillOpacity", value=0),
    ]

    tokens = graph(
        "Tokens",
        promql(one("available_tokens"), "tokens", ref="A"),
        promql(f"min(dict_rate_limit_lowest_available_tokens{{{WHO}}})", "lowest of a minute", ref="E"),
        promql(one("capacity"), "capacity", ref="B"),
        promql(f"{p.WARNING_PERCENT_LEFT / 100} * {one('capacity')}", "warning", ref="C"),
        promql(f"{p.CRITICAL_PERCENT_LEFT / 100} * {one('capacity')}", "critical", ref="D"),
        unit=p.TOKENS,
        span=24,
        height=10,
    )
    tokens.override_by_name("tokens", [p.coloured("blue")])
    tokens.override_by_name("lowest of a minute", [*limits, p.coloured("purple")])
    for name, colour in (("capacity", "text"), ("warning", "orange"), ("critical", "red")):
        tokens.override_by_name(name, [*limits, p.coloured(colour)])

    consumption = graph(
        "Consumption against refill, tokens per minute",
        promql(one("consumption_rate_per_minute"), "consumed", ref="A"),
        sql(_REFILL, ref="B", series=True),
        unit=p.TOKENS,
        description="Above the refill line the bucket drains. Refill is the rate of PostgreSQL's history.",
    )
    # Refill has a point at each change only, and holds in between.
    steps = DynamicConfigValue(id_val="custom.lineInterpolation", value="stepAfter")
    consumption.override_by_name("refill", [*limits, steps, p.coloured("green")])

    return (
        tokens,
        consumption,
        graph(
            "Empty in, full in",
            promql(f"{one('exhaustion_projection_seconds')} < Inf", "empty in", ref="A"),
            promql(one("recovery_eta_seconds"), "full in", ref="B"),
            unit="s",
            description="Empty in has gaps where the bucket was not draining.",
        ),
        graph(
            "Shares of 404s and of 429s",
            promql(one("error_404_rate"), "404s", ref="A"),
            promql(one("error_429_rate"), "429s", ref="B"),
            unit="percentunit",
            maximum=1,
            no_value="the Bridge reports no counts",
            description="A 404 on a key takes 3 tokens of the participant's bucket, 20 of the end user's.",
        ),
        graph(
            "Answers per minute",
            promql(
                f"60 * max by (outcome) (rate(dict_rate_limit_responses_total{{{WHO}}}[$__rate_interval]))",
                "{{outcome}}",
            ),
            no_value="the Bridge reports no counts",
            description="By the Bridge's own counts.",
        ),
        graph(
            "Remaining",
            promql(f"100 - {one('utilization_percent')}", "remaining"),
            unit="percent",
            span=24,
            maximum=100,
            steps=p.REMAINING,
        ),
    )


# The refill in force at the beginning, each change of it, and the last one drawn to the end.
_REFILL = f"""
    WITH states AS (
        SELECT DISTINCT ON (time)
               greatest(observed_at, $__timeFrom()) AS time,
               60.0 * refill_tokens / refill_period_seconds AS refill
          FROM dict_rate_limit_states_between($__timeFrom()::timestamptz - interval '1 hour', $__timeTo())
         WHERE {_SQL_WHO}
         ORDER BY time, observed_at DESC, polled_at DESC
    ),
    changes AS (
        SELECT time, refill, lag(refill) OVER (ORDER BY time) AS before FROM states
    )
    SELECT time, refill
      FROM changes
     WHERE refill IS DISTINCT FROM before
     UNION
    SELECT $__timeTo()::timestamptz, refill
      FROM (SELECT refill FROM states ORDER BY time DESC LIMIT 1) AS last
     ORDER BY 1
"""


def _history() -> Panel:
    return rows(
        "Alerts of this bucket",
        (
            Column("alertname", "Alert", link=("Runbook", "${__data.fields.Runbook}")),
            Column("severity", "Severity", width=90, texts=p.SEVERITIES),
            Column("state", "State", width=100),
            Column("firing_since", "Firing since", unit="dateTimeAsIso"),
            Column("resolved_at", "Resolved", unit="dateTimeAsIso"),
            Column("seconds", "Lasted", unit="s", decimals=1),
            Column("reason", "Reason"),
            Column("runbook", "Runbook", link=("Runbook", "${__value.raw}")),
        ),
        sql(
            f"""
            SELECT alertname, severity, state, firing_since, resolved_at, reason,
                   extract(epoch FROM coalesce(resolved_at, now()) - firing_since)::float8 AS seconds,
                   annotations ->> 'runbook_url' AS runbook
              FROM dict_rate_limit_alerts
             WHERE {_SQL_WHO} AND firing_since <= $__timeTo() AND coalesce(resolved_at, now()) >= $__timeFrom()
             ORDER BY firing_since DESC
             LIMIT 200
            """
        ),
        height=8,
        no_value="none in this time range",
    )

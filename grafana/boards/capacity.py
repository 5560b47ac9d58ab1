"""*Capacity planning*: months of consumption against refill, from PostgreSQL alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana import panels as p
from grafana.panels import Column, bars, graph, rows, sql

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

    from grafana.panels import Panel

_WHO = "participant = ${participant:sqlstring}"
# The list of policies may be empty.
_POLICIES = "policy = ANY (ARRAY[${policy:sqlstring}]::text[])"

# Hourly peaks: a bucket is written at each change and at each heartbeat, so every watched hour
# has rows, and a busy hour does not weigh more than a quiet one.
_HOURLY = f"""
    SELECT policy,
           date_trunc('hour', observed_at) AS hour,
           max(consumption_rate_per_minute) AS peak,
           min(100.0 * available_tokens / capacity) AS least_remaining
      FROM dict_rate_limit_states_between($__timeFrom(), $__timeTo())
     WHERE {_WHO} AND {_POLICIES}
     GROUP BY policy, hour
"""


def dashboard() -> Dashboard:
    made = (
        p.new(
            "DICT rate limits / Capacity planning",
            p.CAPACITY,
            since="now-30d",
            refresh="",
            description="Where consumption is heading, against what DICT refills. BACEN grants no increase on demand.",
        )
        .with_variable(
            p.variable(
                "participant",
                "Participant",
                "SELECT DISTINCT participant FROM dict_rate_limit_policies",
                source=p.POSTGRES,
            )
        )
        .with_variable(
            p.variable(
                "policy",
                "Policy",
                f"SELECT policy FROM dict_rate_limit_policies WHERE {_WHO} AND gone_at IS NULL",
                source=p.POSTGRES,
                many=True,
            )
        )
    )
    for panel in (_table(), *_graphs(), _alerts(), _time_at_level()):
        made.with_panel(panel)
    return made


def _table() -> Panel:
    return rows(
        "Consumption against refill, tokens per minute",
        (
            Column("policy", "Policy", link=("Bucket", _LINK)),
            Column("capacity", "Capacity", unit=p.TOKENS, decimals=0),
            Column("refill", "Refill", unit=p.TOKENS, decimals=1),
            Column("p95", "95th percentile", unit=p.TOKENS, decimals=1),
            Column("peak", "Peak", unit=p.TOKENS, decimals=1),
            Column("share", "95th / refill", unit="percent", decimals=0, steps=_SHARE),
            Column("peak_share", "Peak / refill", unit="percent", decimals=0, steps=_SHARE),
            Column("least_remaining", "Least remaining", unit="percent", decimals=1, steps=p.REMAINING),
            Column("trend", "Trend per 30 days", unit=p.TOKENS, decimals=1),
            Column("days_left", "Meets refill in", unit="d", decimals=1),
            Column("hours", "Hours seen", unit="short", decimals=0),
        ),
        sql(
            f"""
            WITH hourly AS ({_HOURLY}),
            figures AS (
                SELECT policy,
                       max(peak) AS peak,
                       percentile_cont(0.95) WITHIN GROUP (ORDER BY peak) AS p95,
                       min(least_remaining) AS least_remaining,
                       86400 * regr_slope(peak, extract(epoch FROM hour)::float8) AS trend_per_day,
                       count(*) AS hours
                  FROM hourly
                 GROUP BY policy
            )
            SELECT f.policy,
                   q.capacity,
                   60.0 * q.refill_tokens / q.refill_period_seconds AS refill,
                   f.p95,
                   f.peak,
                   100 * f.p95 / (60.0 * q.refill_tokens / q.refill_period_seconds) AS share,
                   100 * f.peak / (60.0 * q.refill_tokens / q.refill_period_seconds) AS peak_share,
                   f.least_remaining,
                   CASE WHEN f.hours >= 72 THEN 30 * f.trend_per_day END AS trend,
                   CASE WHEN f.hours >= 72 AND f.trend_per_day > 0
                        THEN greatest(0, (60.0 * q.refill_tokens / q.refill_period_seconds - f.p95) / f.trend_per_day)
                   END AS days_left,
                   f.hours
              FROM figures AS f
              JOIN dict_rate_limit_policies AS q ON q.policy = f.policy AND q.{_WHO}
             ORDER BY share DESC NULLS LAST
            """
        ),
        height=14,
        description=(
            "Of the peaks of each hour. Trend: a straight line through them, from three days on;"
            " 'meets refill in' is when the 95th percentile would reach the refill along it."
        ),
    )


_SHARE = ((None, "green"), (70.0, "orange"), (90.0, "red"))
_LINK = "/d/dict-rate-limit-bucket?var-participant=${participant}&var-policy=${__data.fields.Policy}"


def _graphs() -> tuple[Panel, ...]:
    return (
        graph(
            "Daily peak as a share of refill",
            sql(
                f"""
                SELECT date_trunc('day', s.observed_at) AS time,
                       s.policy AS metric,
                       max(100.0 * s.consumption_rate_per_minute * s.refill_period_seconds / (60.0 * s.refill_tokens))
                           AS value
                  FROM dict_rate_limit_states_between($__timeFrom(), $__timeTo()) AS s
                 WHERE s.{_WHO} AND s.{_POLICIES}
                   AND s.consumption_rate_per_minute IS NOT NULL
                 GROUP BY time, metric
                 ORDER BY time
                """,
                series=True,
            ),
            unit="percent",
            steps=_SHARE,
            description="Above 100 % a bucket lives on its capacity.",
        ),
        graph(
            "Least remaining of each day",
            sql(
                f"""
                SELECT date_trunc('day', observed_at) AS time,
                       policy AS metric,
                       min(100.0 * available_tokens / capacity) AS value
                  FROM dict_rate_limit_states_between($__timeFrom(), $__timeTo())
                 WHERE {_WHO} AND {_POLICIES}
                 GROUP BY time, metric
                 ORDER BY time
                """,
                series=True,
            ),
            unit="percent",
            maximum=100,
            steps=p.REMAINING,
        ),
    )


def _alerts() -> Panel:
    return bars(
        "Alerts per month",
        sql(
            f"""
            SELECT to_char(date_trunc('month', firing_since AT TIME ZONE 'UTC'), 'YYYY-MM') AS month,
                   count(*) FILTER (WHERE severity = 'critical') AS critical,
                   count(*) FILTER (WHERE severity = 'warning') AS warning,
                   count(*) FILTER (WHERE severity = 'info') AS info
              FROM dict_rate_limit_alerts
             WHERE {_WHO} AND (policy IS NULL OR {_POLICIES}) AND firing_since IS NOT NULL
             GROUP BY month
             ORDER BY month
            """
        ),
        description="Alerts that fired, in UTC months, all that the database holds: alerts are kept for good.",
    )


def _time_at_level() -> Panel:
    return rows(
        "Minutes in alert, by policy",
        (
            Column("policy", "Policy", link=("Bucket", _LINK)),
            Column("severity", "Severity", texts=p.SEVERITIES),
            Column("alerts", "Alerts", unit="short", decimals=0),
            Column("minutes", "Minutes", unit="locale", decimals=0),
            Column("longest", "Longest", unit="m", decimals=1),
        ),
        sql(
            f"""
            SELECT policy, severity, count(*) AS alerts,
                   sum(extract(epoch FROM coalesce(resolved_at, now()) - firing_since) / 60)::float8 AS minutes,
                   max(extract(epoch FROM coalesce(resolved_at, now()) - firing_since) / 60)::float8 AS longest
              FROM dict_rate_limit_alerts
             WHERE {_WHO} AND {_POLICIES} AND $__timeFilter(firing_since)
             GROUP BY policy, severity
             ORDER BY minutes DESC
            """
        ),
        span=12,
        height=8,
        no_value="none in this time range",
    )

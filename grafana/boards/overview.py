"""*Overview*: every bucket of the participants, least remaining first; open alerts; freshness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana import panels as p
from grafana.panels import Column, big_number, graph, latest, promql, rows, sql

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

    from grafana.panels import Panel, Target

WHO = 'participant=~"$participant"'
WHICH = f'{WHO}, policy=~"$policy"'
_LINK = (
    "/d/dict-rate-limit-bucket?var-participant=${__data.fields.Participant}&var-policy=${__data.fields.Policy}"
    "&${__url_time_range}"
)


def per_bucket(metric: str) -> str:
    # Both jobs may serve a gauge, and a bucket is one line all the same.
    return f"max by (participant, policy) ({metric}{{{WHICH}}})"


def dashboard() -> Dashboard:
    made = (
        p.new(
            "DICT rate limits / Overview",
            p.OVERVIEW,
            since="now-3h",
            description="Token buckets of DICT, least remaining first. A dry bucket means that payments fail.",
        )
        .with_variable(
            p.variable("participant", "Participant", "label_values(dict_rate_limit_up, participant)", many=True)
        )
        .with_variable(
            p.variable("policy", "Policy", f"label_values(dict_rate_limit_capacity{{{WHO}}}, policy)", many=True)
        )
    )
    for panel in (*_figures(), _buckets(), _alerts(), *_graphs()):
        made.with_panel(panel)
    return made


def _figures() -> tuple[Panel, ...]:
    firing = (
        'count(count by (alertname, participant, policy) (ALERTS{{alertstate="firing", severity="{}", {}}}))'
        " or vector(0)"
    )
    return (
        big_number(
            "Bridge",
            f"min(dict_rate_limit_up{{{WHO}}})",
            steps=((None, "red"), (1, "green")),
            texts={"1": ("answers", "green"), "0": ("does not answer", "red")},
            no_value="not polled",
            description="Whether the last poll of every participant was answered.",
        ),
        big_number(
            "Age of data",
            f"time() - min(max by (participant) (dict_rate_limit_last_success_timestamp_seconds{{{WHO}}}))",
            unit="s",
            decimals=1,
            steps=((None, "green"), (60, "orange"), (300, "red")),
            description="Since the Bridge last answered, of the participant it answered longest ago.",
        ),
        big_number(
            "Category",
            f"count by (psp_category) (dict_rate_limit_participant_info{{{WHO}}})",
            name="{{psp_category}}",
            description="BACEN's category of the participant; it sets the size of ENTRIES_READ_PARTICIPANT_ANTISCAN.",
        ),
        big_number("Critical alerts", firing.format("critical", WHO), steps=((None, "green"), (1, "red"))),
        big_number("Warnings", firing.format("warning", WHO), steps=((None, "green"), (1, "orange"))),
        big_number(
            "Next to be empty",
            f"min({per_bucket('dict_rate_limit_exhaustion_projection_seconds')} < Inf)",
            unit="s",
            decimals=1,
            steps=p.TIME_LEFT,
            no_value="none is draining",
            description="Seconds until the first bucket is empty at its recent net drain.",
        ),
    )


def _buckets() -> Panel:
    def column(ref: str, expr: str) -> Target:
        return latest(expr, ref=ref, rows=True)

    tokens, capacity = per_bucket("dict_rate_limit_available_tokens"), per_bucket("dict_rate_limit_capacity")
    return rows(
        "Buckets, least remaining first",
        (
            Column("participant", "Participant", width=110),
            Column("policy", "Policy", link=("Bucket", _LINK)),
            Column("Value #A", "Remaining", unit="percent", decimals=1, steps=p.REMAINING, gauge=True),
            Column("Value #B", "Tokens", unit=p.TOKENS, decimals=0),
            Column("Value #H", "Lowest", unit=p.TOKENS, decimals=0),
            Column("Value #C", "Capacity", unit=p.TOKENS, decimals=0),
            Column("Value #D", "Consumed / min", unit=p.TOKENS, decimals=1),
            Column("Value #E", "Empty in", unit="s", decimals=1, steps=p.TIME_LEFT),
            Column("Value #F", "Full in", unit="s", decimals=1),
            Column("Value #G", "404s", unit="percentunit", decimals=1),
            Column("Value #I", "429s", unit="percentunit", decimals=1, steps=p.REFUSED),
        ),
        column("A", f"100 - {per_bucket('dict_rate_limit_utilization_percent')}"),
        column("B", tokens),
        column("C", capacity),
        column("D", per_bucket("dict_rate_limit_consumption_rate_per_minute")),
        column("E", f"{per_bucket('dict_rate_limit_exhaustion_projection_seconds')} < Inf"),
        column("F", per_bucket("dict_rate_limit_recovery_eta_seconds")),
        column("G", per_bucket("dict_rate_limit_error_404_rate")),
        column("H", f"min by (participant, policy) (dict_rate_limit_lowest_available_tokens{{{WHICH}}})"),
        column("I", per_bucket("dict_rate_limit_error_429_rate")),
        sort="Remaining",
        height=14,
        description="Lowest: of a minute. Empty in: at the recent net drain, if any. Full in: if nothing is consumed.",
    )


def _alerts() -> Panel:
    return rows(
        "Open alerts",
        (
            Column("alertname", "Alert", link=("Runbook", "${__data.fields.Runbook}")),
            Column("severity", "Severity", width=90, texts=p.SEVERITIES),
            Column("state", "State", width=90),
            Column("participant", "Participant", width=110),
            Column("policy", "Policy", link=("Bucket", _LINK)),
            Column("summary", "Summary"),
            Column("since", "Since", unit="dateTimeFromNow", width=140),
            Column("runbook", "Runbook", link=("Runbook", "${__value.raw}")),
        ),
        sql(
            """
            SELECT alertname, severity, state, participant, policy, summary,
                   coalesce(firing_since, active_since) AS since, runbook_url AS runbook
              FROM v_dict_rate_limit_active_alerts
             WHERE participant = ANY (ARRAY[${participant:sqlstring}]::text[])
               AND (policy IS NULL OR policy = ANY (ARRAY[${policy:sqlstring}]::text[]))
            """
        ),
        height=8,
        no_value="no open alert",
        description="As the reconciler keeps them. A click on an alert opens its runbook, on a policy its bucket.",
    )


def _graphs() -> tuple[Panel, ...]:
    return (
        graph(
            "Remaining at the lowest of each minute, the five lowest",
            promql(
                "bottomk(5, 100 * min by (participant, policy)"
                f" (dict_rate_limit_lowest_available_tokens{{{WHICH}}} / dict_rate_limit_capacity{{{WHICH}}}))",
                "{{participant}} {{policy}}",
            ),
            unit="percent",
            span=8,
            maximum=100,
            steps=p.REMAINING,
        ),
        graph(
            "Calls refused with 429 per minute, the five most",
            promql(
                "topk(5, 60 * max by (participant, policy)"
                f' (rate(dict_rate_limit_responses_total{{outcome="rate_limited", {WHICH}}}[$__rate_interval])) > 0)',
                "{{participant}} {{policy}}",
            ),
            span=8,
            no_value="none, or the Bridge reports no counts",
            description="By the Bridge's own counts.",
        ),
        graph(
            "Consumption as a share of capacity per minute, the five highest",
            promql(
                f"topk(5, {per_bucket('dict_rate_limit_consumption_rate_per_minute')}"
                f" / {per_bucket('dict_rate_limit_capacity')})",
                "{{participant}} {{policy}}",
            ),
            unit="percentunit",
            span=8,
        ),
    )

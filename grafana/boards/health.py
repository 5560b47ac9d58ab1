"""*Exporter health*: is the program itself well: polls, latency, budget, feed, outbox, reloads, partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana import panels as p
from grafana.panels import Column, big_number, graph, promql, rows, sql

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

    from grafana.panels import Panel

WHO = 'participant=~"$participant"'
JOBS = 'job=~"dict-rate-limit.*"'
# What one that led before says is old.
LEADS = " and on (job, instance) dict_rate_limit_lease_held == 1"
BAD: p.Steps = ((None, "green"), (1, "red"))


def _or_none(expr: str, label: str) -> str:
    """Returns a query that shows a zero named "none" where a counter has no series yet."""
    return f'{expr} or on () label_replace(vector(0), "{label}", "none", "", "")'


def _alerts_per_hour(counter: str) -> str:
    # In a split deployment both jobs count each alert; of two replicas of one job each counts its own.
    each = f"sum by (job, participant, policy, severity) (increase({counter}{{{WHO}}}[1h]))"
    return f"sum by (severity) (max by (participant, policy, severity) ({each}))"


def dashboard() -> Dashboard:
    made = p.new(
        "DICT rate limits / Exporter health",
        p.HEALTH,
        since="now-3h",
        description="The exporter and the reconciler: polls, latency, the budget they live on, feed, outbox, database.",
    ).with_variable(
        p.variable("participant", "Participant", "label_values(dict_rate_limit_up, participant)", many=True)
    )
    for panel in (*_figures(), *_polls(), *_reconciling(), *_process(), _failed_polls()):
        made.with_panel(panel)
    return made


def _figures() -> tuple[Panel, ...]:
    return (
        big_number(
            "Processes up",
            f"min(up{{{JOBS}}})",
            steps=((None, "red"), (1, "green")),
            texts={"1": ("all", "green"), "0": ("one is gone", "red")},
        ),
        big_number(
            "Leader",
            "sum(dict_rate_limit_lease_held)",
            steps=((None, "red"), (1, "green"), (2, "red")),
            texts={"1": ("one", "green"), "0": ("none", "red")},
            description="Reconcilers that hold the lease: one works, others wait.",
        ),
        big_number(
            "Last reload",
            "min(dict_rate_limit_config_last_reload_successful)",
            steps=((None, "red"), (1, "green")),
            texts={"1": ("good", "green"), "0": ("refused", "red")},
        ),
        big_number("Outbox", "max(dict_rate_limit_outbox_pending)", steps=((None, "green"), (100, "orange"))),
        big_number(
            "Months of partitions ready",
            f"min(dict_rate_limit_partitions_ready_months{LEADS})",
            steps=((None, "red"), (1, "orange"), (2, "green")),
            description="Months after this one that partitions are ready for, as the leader says.",
        ),
        big_number(
            "Snapshots lost in 24 h",
            "sum(increase(dict_rate_limit_snapshots_dropped_total[24h])) or vector(0)",
            steps=BAD,
            decimals=0,
        ),
    )


def _polls() -> tuple[Panel, ...]:
    return (
        graph(
            "Polls per minute",
            promql(
                '60 * sum(rate(dict_rate_limit_monitoring_duration_seconds_count{operation="poll"}[$__rate_interval]))',
                "polls",
                ref="A",
            ),
            promql(
                f"60 * sum by (code) (rate(dict_rate_limit_poll_errors_total{{{WHO}}}[$__rate_interval]))",
                "{{code}}",
                ref="B",
            ),
            description="All polls, and the failed ones by gRPC status (BAD_ANSWER: nothing in the answer was usable).",
        ),
        graph(
            "Duration, 95th percentile",
            promql(
                "histogram_quantile(0.95, sum by (operation, le)"
                " (rate(dict_rate_limit_monitoring_duration_seconds_bucket[$__rate_interval])))",
                "{{operation}}",
            ),
            unit="s",
        ),
        graph(
            "Poll budget: tokens of POLICIES_LIST",
            promql(
                f'max by (participant) (dict_rate_limit_available_tokens{{{WHO}, policy="POLICIES_LIST"}})',
                "{{participant}}",
            ),
            description="Each poll takes one. The exporter polls more slowly before this reaches zero.",
        ),
        graph(
            "Poll interval",
            promql(f"max by (participant) (dict_rate_limit_poll_interval_seconds{{{WHO}}})", "{{participant}}"),
            unit="s",
            description="As stretched by the budget.",
        ),
        graph(
            "Age of data",
            promql(
                f"time() - max by (participant) (dict_rate_limit_last_success_timestamp_seconds{{{WHO}}})",
                "{{participant}}",
            ),
            unit="s",
            steps=((None, "green"), (60, "orange"), (300, "red")),
        ),
        graph(
            "Clock skew",
            promql(f"abs(max by (participant) (dict_rate_limit_clock_skew_seconds{{{WHO}}}))", "{{participant}}"),
            unit="s",
            description="DICT's clock less ours, without its sign.",
        ),
        graph(
            "Defects in answers per hour",
            promql(
                _or_none(f"sum by (reason) (increase(dict_rate_limit_answer_defects_total{{{WHO}}}[1h]))", "reason"),
                "{{reason}}",
            ),
            description="Figures that were refused or corrected.",
        ),
        graph(
            "Alerts per hour",
            promql(
                _alerts_per_hour("dict_rate_limit_alerts_created_total"),
                "{{severity}} fired",
                ref="A",
            ),
            promql(
                _alerts_per_hour("dict_rate_limit_alerts_resolved_total"),
                "{{severity}} resolved",
                ref="B",
            ),
        ),
    )


def _reconciling() -> tuple[Panel, ...]:
    return (
        graph(
            "Feed",
            promql(
                f"min by (target) (dict_rate_limit_feed_connected{LEADS})",
                "{{target}}",
            ),
            maximum=1,
            no_value="one process, or nobody leads: no feed",
            description="Whether the reconciler that leads follows each exporter's feed; the others wait.",
        ),
        graph(
            "Outbox",
            promql("max(dict_rate_limit_outbox_pending)", "events waiting"),
            description="Events that are committed and not yet acknowledged by Pulsar.",
        ),
        graph(
            "Oldest event in the outbox",
            promql("max(dict_rate_limit_outbox_oldest_age_seconds)", "age"),
            unit="s",
            steps=((None, "green"), (300, "red")),
        ),
        graph(
            "Events per hour",
            promql("sum(increase(dict_rate_limit_events_published_total[1h]))", "published", ref="A"),
            promql("sum(increase(dict_rate_limit_events_dead_total[1h]))", "can never be sent", ref="B"),
            description="Alert events that Pulsar acknowledged, and those set aside for good.",
        ),
        graph(
            "Snapshots lost per hour",
            promql(
                _or_none("sum by (reason) (increase(dict_rate_limit_snapshots_dropped_total[1h]))", "reason"),
                "{{reason}}",
            ),
        ),
        graph(
            "Rules that could not be evaluated, per hour",
            promql(
                _or_none(
                    "sum by (rule_group) (increase(dict_rate_limit_rule_evaluation_failures_total[1h]))", "rule_group"
                ),
                "{{rule_group}}",
            ),
        ),
    )


def _process() -> tuple[Panel, ...]:
    who = "{{job}} {{instance}}"
    return (
        graph("Memory", promql(f"process_resident_memory_bytes{{{JOBS}}}", who), unit="bytes", span=8),
        graph(
            "CPU",
            promql(f"rate(process_cpu_seconds_total{{{JOBS}}}[$__rate_interval])", who),
            unit="percentunit",
            span=8,
        ),
        graph("Open files", promql(f"process_open_fds{{{JOBS}}}", who), span=8),
    )


def _failed_polls() -> Panel:
    return rows(
        "Failed polls, as reconciled",
        (
            Column("polled_at", "At", unit="dateTimeAsIso", width=190),
            Column("participant", "Participant", width=110),
            Column("failure_code", "Code", width=180),
            Column("failure_message", "Message"),
        ),
        sql(
            """
            SELECT polled_at, participant, failure_code, failure_message
              FROM dict_rate_limit_reconciliations_between($__timeFrom(), $__timeTo())
             WHERE NOT answered
               AND participant = ANY (ARRAY[${participant:sqlstring}]::text[])
             ORDER BY polled_at DESC
             LIMIT 200
            """
        ),
        height=8,
        no_value="none in this time range",
    )

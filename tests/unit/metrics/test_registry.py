"""Metrics: what is shown, when it vanishes, and that the quick path says what prometheus_client says."""

from __future__ import annotations

import gzip
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.alerts.alert import AlertState, Severity
from exporter.buckets.observation import view_after
from exporter.metrics import Metrics
from exporter.metrics.exposition import DEFLATED_ALONE_BYTES, SLICE_BYTES
from exporter.metrics.families import POLLED_FAMILIES
from exporter.metrics.own_metrics import Guarded
from exporter.metrics.registry import KEEP_REMOVED_SECONDS
from tests.support.builders import PARTICIPANT, POLICY, bucket, counts, failed, observed, poll, read, view
from tests.support.clocks import Clock
from tests.support.metrics import THE_TEN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.buckets.observation import View

Key = tuple[str, tuple[tuple[str, str], ...]]


def samples(page: bytes) -> dict[Key, float]:
    parse = parse_openmetrics if page.endswith(b"# EOF\n") else parse_text
    found: dict[Key, float] = {}
    for family in parse(page.decode()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics.exposition()).get((name, tuple(sorted(labels.items()))))


def names(metrics: Metrics) -> set[str]:
    return {name for name, _ in samples(metrics.exposition())}


def rich_view(participant: str = PARTICIPANT) -> View:
    return view(
        poll(
            observed(bucket(1_234, response_counts=counts()), rate=12.5, empty=math.inf, share=0.05),
            observed(bucket(12_345_678, policy="BIG", capacity=98_765_432), rate=0.0, empty=0.0),
            bucket(20, policy='odd "name"\\with\nbreaks', capacity=20),
            participant=participant,
            clock_skew_seconds=-0.25,
        )
    )


def busy_metrics() -> Metrics:
    metrics = Metrics()
    for number in range(60):
        metrics.publish(rich_view(f"{number:08d}"))
    metrics.publish(view(failed(participant="99999999")))
    metrics.declare_alert_counters([(Severity.WARNING, True), (Severity.CRITICAL, False)])
    metrics.count_transition("00000003", POLICY, Severity.WARNING, AlertState.FIRING)
    metrics.polls.errors.labels("99999999", "UNAVAILABLE").inc()
    metrics.polls.duration.observe(0.02)
    metrics.outbox.set(3, 12.0)
    return metrics


# What changes by itself between two readings.
RESTLESS = ("process_", "python_")


def steady(page: bytes) -> dict[Key, float]:
    return {key: found for key, found in samples(page).items() if not key[0].startswith(RESTLESS)}


def test_both_paths_give_the_same_samples_in_the_text_format():
    metrics = busy_metrics()

    ours, theirs = metrics.exposition(), generate_latest(metrics.registry)

    assert steady(ours) == steady(theirs)
    assert sorted(line for line in ours.splitlines() if line.startswith(b"#")) == sorted(
        line for line in theirs.splitlines() if line.startswith(b"#")
    )


def test_both_paths_give_the_same_samples_in_openmetrics():
    metrics = busy_metrics()

    ours, theirs = metrics.exposition(openmetrics=True), generate_openmetrics(metrics.registry)

    assert steady(ours) == steady(theirs)
    assert sorted(line for line in ours.splitlines() if line.startswith(b"#")) == sorted(
        line for line in theirs.splitlines() if line.startswith(b"#")
    )


def test_the_lines_of_a_family_stand_together():
    lines = busy_metrics().exposition().decode().splitlines()

    order = [line.split(" ")[2] for line in lines if line.startswith("# TYPE")]
    assert len(order) == len(set(order))
    current = ""
    for line in lines:
        if line.startswith("# HELP"):
            current = line.split(" ")[2]
        elif not line.startswith("#"):
            assert line.startswith(current.removesuffix("_total")), line


@pytest.mark.parametrize("openmetrics", [False, True])
def test_gzip_is_one_member_and_says_the_same(openmetrics: bool):  # noqa: FBT001
    metrics = busy_metrics()
    metrics.exposition(gzip=True)
    metrics.publish(rich_view("00000001"))

    packed = metrics.exposition(openmetrics=openmetrics, gzip=True)

    assert packed.count(b"\x1f\x8b\x08\x00\x00\x00\x00\x00") == 1
    assert steady(gzip.decompress(packed)) == steady(metrics.exposition(openmetrics=openmetrics))


def test_lines_are_deflated_at_the_poll_once_a_scrape_asked_for_gzip(monkeypatch: pytest.MonkeyPatch):
    many = [bucket(5, policy=f"POLICY_{number}", capacity=10) for number in range(40)]
    metrics = Metrics()
    metrics.exposition(gzip=True)
    metrics.publish(view(poll(*many)))
    deflated: list[int] = []
    monkeypatch.setattr("exporter.metrics.exposition._deflated", lambda text: deflated.append(len(text)) or b"\x03\x00")

    list(metrics.page(gzip=True))

    capacity_lines = sum(
        len(line) + 1 for line in metrics.exposition().splitlines() if line.startswith(b"dict_rate_limit_capacity{")
    )
    assert capacity_lines > DEFLATED_ALONE_BYTES
    assert sum(deflated) < len(metrics.exposition()) - 3 * capacity_lines


def test_a_big_page_comes_in_slices():
    metrics = Metrics()
    for number in range(400):
        metrics.publish(rich_view(f"{number:08d}"))

    page = list(metrics.page())

    assert len(page) > 3
    assert max(map(len, page)) < SLICE_BYTES * 1.2


def test_a_page_shows_the_gauges_of_one_instant_however_slowly_it_is_read():
    metrics = Metrics()
    for number in range(400):
        metrics.publish(view(poll(bucket(7, capacity=10), participant=f"{number:08d}")))
    page = metrics.page()
    read = next(page)

    for number in range(400):
        metrics.publish(view(poll(bucket(1, capacity=10), participant=f"{number:08d}")))
    read += b"".join(page)

    tokens = {v for (name, _), v in samples(read).items() if name == "dict_rate_limit_available_tokens"}
    assert tokens == {7.0}


def test_all_ten_names_are_on_the_page_with_the_first_poll():
    metrics = Metrics()
    metrics.declare_alert_counters([(Severity.WARNING, True)])
    metrics.publish(rich_view())

    page = metrics.exposition().decode()

    for name in THE_TEN:
        assert f"# TYPE {name} " in page
        assert f"\n{name}" in page


def test_a_figure_that_is_not_known_is_absent():
    metrics = Metrics()

    metrics.publish(view(poll(bucket(10, capacity=20))))

    absent = {
        "dict_rate_limit_consumption_rate_per_minute",
        "dict_rate_limit_exhaustion_projection_seconds",
        "dict_rate_limit_error_404_rate",
        "dict_rate_limit_error_429_rate",
        "dict_rate_limit_responses_total",
        "dict_rate_limit_clock_skew_seconds",
        "dict_rate_limit_category_changed_timestamp_seconds",
    }
    assert not absent & names(metrics)
    assert value(metrics, "dict_rate_limit_utilization_percent", participant=PARTICIPANT, policy=POLICY) == 50.0


def test_the_bridges_own_counts_are_a_counter_by_outcome():
    metrics = Metrics()

    metrics.publish(view(poll(bucket(10, response_counts=counts(100, 5, 2)), bucket(3, policy="OTHER"))))

    labels = {"participant": PARTICIPANT, "policy": POLICY}
    name = "dict_rate_limit_responses_total"
    assert value(metrics, name, **labels, outcome="ok") == 93
    assert value(metrics, name, **labels, outcome="not_found") == 5
    assert value(metrics, name, **labels, outcome="rate_limited") == 2
    assert f"# TYPE {name} counter" in metrics.exposition().decode()
    assert "# TYPE dict_rate_limit_responses counter" in metrics.exposition(openmetrics=True).decode()
    assert value(metrics, name, participant=PARTICIPANT, policy="OTHER", outcome="ok") is None


def test_a_restart_of_the_bridge_is_a_reset_of_its_counts():
    metrics = Metrics()
    for n, seen in enumerate((counts(100, 5, 2), counts(3, 0, 0, instance="b"))):
        metrics.publish(view(poll(bucket(10, response_counts=seen), seconds=15 * n)))

    labels = {"participant": PARTICIPANT, "policy": POLICY, "outcome": "ok"}
    assert value(metrics, "dict_rate_limit_responses_total", **labels) == 3


POLICIES = ("A", 'odd "name"\\with\nbreaks', "KEYS_CHECK", "KEYS_CHECK_2")
bucket_figures = st.tuples(
    st.sampled_from(POLICIES),
    st.integers(-5, 70),
    st.sampled_from([None, 3.5]),
    st.sampled_from([None, (100, 5, 0), (100, 5, 1)]),
)


@given(st.lists(st.one_of(bucket_figures, st.lists(bucket_figures, max_size=4)), max_size=12), st.booleans())
def test_what_is_shown_after_a_read_is_what_a_process_would_show_that_knows_nothing_else(steps, gzipped):
    metrics, known = Metrics(), view(poll(*(bucket(70, policy=policy, capacity=70) for policy in POLICIES[:3])))
    metrics.exposition(gzip=gzipped)
    metrics.publish(known)
    for number, step in enumerate(steps, 1):
        whole = isinstance(step, list)
        made = {
            policy: observed(
                bucket(tokens, policy=policy, capacity=70, response_counts=answers and counts(*answers)), rate=rate
            )
            for policy, tokens, rate, answers in (step if whole else [step])
        }
        seconds = 2.0 * number
        (of_one, *_) = made.values() or [None]
        seen = poll(*made.values(), seconds=seconds) if whole else read(of_one, seconds=seconds, sequence=number + 1)
        known = view_after(known, seen)
        metrics.publish(known)

    afresh = Metrics()
    afresh.publish(known)
    assert steady(metrics.exposition()) == steady(afresh.exposition())
    if gzipped:
        assert steady(gzip.decompress(metrics.exposition(gzip=True))) == steady(afresh.exposition())


def test_after_a_read_only_its_own_lines_are_rendered():
    metrics = Metrics()
    known = view(poll(bucket(10), bucket(20, policy="OTHER", capacity=36_000)))
    metrics.publish(known)
    before = metrics._participants[PARTICIPANT].polled_parts

    metrics.publish(view_after(known, read(bucket(11), seconds=4, sequence=2)))

    after = metrics._participants[PARTICIPANT].polled_parts
    names_ = [family.name for family, was, now in zip(POLLED_FAMILIES, before, after, strict=True) if was is not now]
    assert "dict_rate_limit_available_tokens" in names_
    assert "dict_rate_limit_capacity" not in names_


def test_what_a_role_does_not_know_is_absent_until_it_is_set():
    metrics = Metrics()
    late = {
        "dict_rate_limit_lease_held",
        "dict_rate_limit_partitions_ready_months",
        "dict_rate_limit_config_last_reload_successful",
        "dict_rate_limit_config_last_reload_success_timestamp_seconds",
        "dict_rate_limit_outbox_pending",
        "dict_rate_limit_outbox_oldest_age_seconds",
    }
    assert not late & names(metrics)

    metrics.reconciler.lease_held.set(0)
    metrics.outbox.set(0, None)

    assert late & names(metrics) == {
        "dict_rate_limit_lease_held",
        "dict_rate_limit_outbox_pending",
        "dict_rate_limit_outbox_oldest_age_seconds",
    }


def test_the_category_is_on_the_info_metric_only():
    metrics = Metrics()

    metrics.publish(view(poll(category="F")))

    assert value(metrics, "dict_rate_limit_participant_info", participant=PARTICIPANT, psp_category="F") == 1.0
    labelled = {name for name, labels in samples(metrics.exposition()) if "psp_category" in dict(labels)}
    assert labelled == {"dict_rate_limit_participant_info"}


def test_a_bucket_that_no_answer_confirmed_for_the_staleness_loses_its_gauges():
    metrics = Metrics()

    metrics.publish(view(poll(), *(failed(seconds) for seconds in range(15, 300, 15))))
    before = names(metrics)
    metrics.publish(view(poll(), *(failed(seconds) for seconds in range(15, 315, 15))))

    assert "dict_rate_limit_available_tokens" in before
    assert not names(metrics) & {"dict_rate_limit_available_tokens", "dict_rate_limit_participant_info"}
    assert value(metrics, "dict_rate_limit_up", participant=PARTICIPANT) == 0.0


def test_a_participant_whose_polls_stop_coming_keeps_its_last_success_and_its_alert_counters_alone():
    clock = Clock(1000.0)
    metrics = Metrics(monotonic=clock)
    metrics.declare_alert_counters([(Severity.WARNING, True)])
    metrics.publish(rich_view())

    clock.seconds += 300 + 3 * 15 - 1
    still = names(metrics)
    clock.seconds += 2
    gone = still - names(metrics)

    assert gone == {
        *THE_TEN[:7],
        "dict_rate_limit_lowest_available_tokens",
        "dict_rate_limit_responses_total",
        "dict_rate_limit_refused_policies",
        "dict_rate_limit_up",
        "dict_rate_limit_participant_info",
        "dict_rate_limit_poll_interval_seconds",
        "dict_rate_limit_clock_skew_seconds",
    }
    assert steady(metrics.exposition()) == steady(generate_latest(metrics.registry))


def test_a_forgotten_participant_keeps_its_counters_only():
    metrics = Metrics()
    metrics.declare_alert_counters([(Severity.WARNING, True)])
    metrics.publish(rich_view())

    metrics.withdraw_gauges(PARTICIPANT)
    metrics.withdraw_gauges("00000000")

    left = {name for name, labels in samples(metrics.exposition()) if ("participant", PARTICIPANT) in labels}
    assert left == {"dict_rate_limit_alerts_created_total", "dict_rate_limit_alerts_resolved_total"}


def test_alert_counters_are_0_before_the_first_alert_for_what_the_rules_can_produce():
    metrics = Metrics()
    metrics.publish(view(poll(bucket(policy="A"), bucket(policy="B"))))

    metrics.declare_alert_counters([(Severity.WARNING, True), (Severity.INFO, False)])

    made = {
        (dict(labels)["policy"], dict(labels)["severity"])
        for name, labels in samples(metrics.exposition())
        if name == "dict_rate_limit_alerts_created_total"
    }
    assert made == {("A", "warning"), ("B", "warning"), ("", "info")}


def test_alert_counters_of_what_is_seen_later_are_0_at_once():
    metrics = Metrics()
    metrics.declare_alert_counters([(Severity.WARNING, True)])

    metrics.publish(view(poll(bucket(policy="LATER"))))

    labels = {"participant": PARTICIPANT, "policy": "LATER", "severity": "warning"}
    assert value(metrics, "dict_rate_limit_alerts_created_total", **labels) == 0.0
    assert value(metrics, "dict_rate_limit_alerts_resolved_total", **labels) == 0.0


def test_alert_counters_of_a_policy_that_went_stay():
    metrics = Metrics()
    metrics.declare_alert_counters([(Severity.WARNING, True)])
    metrics.publish(view(poll(bucket(policy="A"), bucket(policy="B"))))

    metrics.publish(view(poll(bucket(policy="A"), seconds=600)))

    labels = {"participant": PARTICIPANT, "policy": "B", "severity": "warning"}
    assert value(metrics, "dict_rate_limit_alerts_created_total", **labels) == 0.0


def test_a_policy_that_is_gone_for_an_hour_leaves_nothing_behind():
    clock = Clock(1000.0)
    metrics = Metrics(monotonic=clock)
    metrics.declare_alert_counters([(Severity.WARNING, True)])
    metrics.publish(view(poll(bucket(policy="A"), bucket(policy="B"))))
    metrics.count_transition(PARTICIPANT, "B", Severity.WARNING, AlertState.FIRING)
    metrics.count_transition(PARTICIPANT, "C", Severity.WARNING, AlertState.FIRING)
    for _ in range(2):
        clock.seconds += KEEP_REMOVED_SECONDS - 1
        metrics.publish(view(poll(bucket(policy="A"), seconds=600)))
        page = metrics.exposition().decode()

    assert 'policy="A"' in page
    assert 'policy="B"' not in page
    assert 'policy="C"' not in page


def test_a_participant_that_is_gone_for_an_hour_leaves_nothing_behind():
    clock = Clock(1000.0)
    metrics = Metrics(monotonic=clock)
    gone = "87654321"
    for participant in (PARTICIPANT, gone):
        metrics.publish(view(poll(participant=participant)))
        metrics.polls.errors.labels(participant, "UNAVAILABLE").inc()
        metrics.reconciler.polls_late.labels(participant).inc()
    for _ in range(3):
        clock.seconds += KEEP_REMOVED_SECONDS - 1
        metrics.publish(view(poll()))

    page = metrics.exposition().decode()
    assert PARTICIPANT in page
    assert gone not in page


def test_ten_thousand_policies_leave_nothing_behind():
    clock = Clock(1000.0)
    metrics = Metrics(monotonic=clock)
    metrics.declare_alert_counters([(Severity.WARNING, True), (Severity.CRITICAL, True)])
    metrics.publish(view(poll()))
    before = len(metrics.exposition())
    for first in range(0, 10_000, 250):
        metrics.publish(view(poll(*(bucket(policy=f"P{first + number}") for number in range(250)))))
    clock.seconds += KEEP_REMOVED_SECONDS + 1
    metrics.publish(view(poll()))

    assert abs(len(metrics.exposition()) - before) < 100


def test_transitions_are_counted_by_state():
    metrics = Metrics()
    metrics.publish(view())
    created, resolved = "dict_rate_limit_alerts_created_total", "dict_rate_limit_alerts_resolved_total"
    labels = {"participant": PARTICIPANT, "policy": POLICY, "severity": "critical"}

    metrics.count_transition(PARTICIPANT, POLICY, Severity.CRITICAL, AlertState.PENDING)
    metrics.count_transition(PARTICIPANT, POLICY, Severity.CRITICAL, AlertState.FIRING)
    metrics.count_transition(PARTICIPANT, POLICY, Severity.CRITICAL, AlertState.FIRING)
    metrics.count_transition(PARTICIPANT, POLICY, Severity.CRITICAL, AlertState.RESOLVED)

    assert value(metrics, created, **labels) == 2.0
    assert value(metrics, resolved, **labels) == 1.0


def test_an_alert_about_the_participant_is_counted_with_an_empty_policy():
    metrics = Metrics()

    metrics.count_transition("00000009", None, Severity.CRITICAL, AlertState.FIRING)

    labels = {"participant": "00000009", "policy": "", "severity": "critical"}
    assert value(metrics, "dict_rate_limit_alerts_created_total", **labels) == 1.0


def test_durations_exist_for_every_operation_before_the_first():
    page = samples(Metrics().exposition())

    operations = {
        dict(labels)["operation"]
        for name, labels in page
        if name == "dict_rate_limit_monitoring_duration_seconds_count"
    }
    assert operations == {"poll", "evaluate", "persist", "relay"}


def test_no_created_series_double_the_counters():
    assert not [name for name in names(busy_metrics()) if name.endswith("_created")]


class Broken:
    def collect(self) -> Iterable[Metric]:
        raise OSError("no /proc here")


def test_a_collector_that_fails_costs_its_own_metrics_only():
    metrics = Metrics()
    metrics.publish(view())
    metrics.collectors.guarded.insert(0, Guarded(Broken(), "broken", metrics.collectors.errors))

    page = metrics.exposition()

    assert value(metrics, "dict_rate_limit_up", participant=PARTICIPANT) == 1.0
    assert samples(page)["dict_rate_limit_collector_errors_total", (("collector", "broken"),)] == 1.0


def test_a_family_that_fails_for_a_participant_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch):
    metrics = Metrics()
    monkeypatch.setattr("exporter.buckets.bucket.Bucket.utilization_percent", property(lambda _: 1 / 0), raising=True)

    metrics.publish(view())

    assert "dict_rate_limit_utilization_percent" not in names(metrics)
    assert value(metrics, "dict_rate_limit_up", participant=PARTICIPANT) == 1.0
    labels = {"collector": "dict_rate_limit_utilization_percent"}
    assert value(metrics, "dict_rate_limit_collector_errors_total", **labels) == 1.0


def test_an_unchanged_family_is_not_rendered_anew():
    metrics = Metrics()
    metrics.publish(view(poll(bucket(10, capacity=20))))
    shown = metrics._participants[PARTICIPANT]
    before = list(shown.polled_parts)

    metrics.publish(view(poll(bucket(9, capacity=20), seconds=15)))

    assert shown.polled_parts[1] is before[1]
    assert shown.polled_parts[0] is not before[0]


def test_the_registry_refuses_a_second_family_of_the_same_name():
    metrics = Metrics()

    class Twice:
        def describe(self) -> Iterable[Metric]:
            return [Metric("dict_rate_limit_up", "again", "gauge")]

        def collect(self) -> Iterable[Metric]:
            return []

    with pytest.raises(ValueError, match="Duplicated timeseries"):
        metrics.registry.register(Twice())

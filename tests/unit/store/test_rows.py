"""Parameters of the writer's statements, read as PostgreSQL reads them."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.alerts.alert import AlertState, Reason, RuleFailure, Severity
from exporter.alerts.event import event_of
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Category
from exporter.store import rows
from exporter.store.database import queries
from exporter.store.reconciliation import Figures, Reconciliation, Written, alerts_to_write, states_to_write
from exporter.store.rows import of_booleans, of_numbers, of_texts, of_times
from tests.support.builders import PARTICIPANT, POLICY, alert, at, bucket, counts, failed, observed, poll
from tests.support.literals import columns, read
from tests.support.stored import HEARTBEAT_SECONDS, pending, reconciled
from tests.support.strategies import INT64_MAX, figures, storable, times

if TYPE_CHECKING:
    from exporter.buckets.observation import Poll
    from exporter.store.reconciliation import StatesToWrite

A, B = bucket(100, policy="A"), bucket(200, policy="B")
OTHER = Ispb("87654321")


def decided(*batch: Poll | Reconciliation, known=()) -> list[tuple[Reconciliation, StatesToWrite]]:
    """What the writer decides of a batch, given what it knew of participants."""
    written = dict(known)
    made = []
    for one in batch:
        reconciliation = one if isinstance(one, Reconciliation) else Reconciliation(one, evaluated=True)
        participant = reconciliation.poll.participant
        states = states_to_write(written.get(participant, Written({})), reconciliation.poll, HEARTBEAT_SECONDS)
        written[participant] = states.after
        made.append((reconciliation, states))
    return made


def states(*batch: Poll) -> dict[str, list[Any]]:
    return columns("insert_states", rows.states(decided(*batch)))


def policies(*batch: Poll, known=()) -> list[tuple[Any, ...]]:
    """Returns (policy, capacity, first seen, changed, gone) of each row."""
    written = columns("upsert_policies", rows.policies(decided(*batch, known=known), dict(known)))
    found = (written[name] for name in ("policy", "capacity", "first_seen_at", "changed_at", "gone_at"))
    return list(zip(*found, strict=True))


def reconciliations(*batch: Poll | Reconciliation) -> dict[str, list[Any]]:
    written = columns("insert_reconciliations", rows.reconciliations(decided(*batch)))
    assert {len(values) for values in written.values()} == {len(batch)}
    return written


# Nothing to write


def test_what_has_no_rows_is_no_statement() -> None:
    assert rows.states([]) is None
    assert rows.policies([], {}) is None
    assert rows.reconciliations([]) is None
    assert rows.instances([]) is None
    assert rows.alerts([]) is None
    assert rows.transitions([]) is None
    assert rows.events([]) is None


def test_polls_that_change_nothing_write_no_state_and_no_policy() -> None:
    _, *unchanged = decided(poll(A), failed(15), poll(A, seconds=30))

    assert rows.states(unchanged) is None
    assert rows.policies(unchanged, {}) is None
    assert rows.events([r for r, _ in unchanged]) is None


# States


def test_a_state_names_its_poll_by_its_place_among_those_that_write_states() -> None:
    written = states(
        failed(0, participant=OTHER),
        poll(A, B, seconds=15),
        poll(A, B, seconds=30),
        poll(bucket(99, policy="A"), B, seconds=45, category="A"),
    )

    assert written["polled_at"] == [at(15), at(45)]
    assert list(zip(written["place"], written["policy"], strict=True)) == [(1, "A"), (1, "B"), (2, "A")]


def test_a_state_has_every_figure_of_its_bucket() -> None:
    made = bucket(
        9, policy="A", capacity=10, refill_tokens=3, refill_period_seconds=60, response_counts=counts(40, 5, 2, "i-1")
    )

    known = replace(
        observed(made, rate=1.5, empty=math.inf, share=0.125), error_429_rate=0.25, lowest_available_tokens=-3
    )
    written = states(poll(known, seconds=15, category="C"))

    assert written == {
        "participants": [PARTICIPANT],
        "observed_at": [at(15)],
        "polled_at": [at(15)],
        "category": ["C"],
        "place": [1],
        "policy": ["A"],
        "available_tokens": [9],
        "capacity": [10],
        "refill_tokens": [3],
        "refill_period_seconds": [60],
        "responses_total": [40],
        "responses_not_found": [5],
        "responses_rate_limited": [2],
        "responses_instance": ["i-1"],
        "consumption_rate_per_minute": [1.5],
        "exhaustion_projection_seconds": [math.inf],
        "error_404_rate": [0.125],
        "error_429_rate": [0.25],
        "lowest_available_tokens": [-3],
    }


def test_the_instant_of_a_state_is_dicts_and_that_of_its_poll_is_ours() -> None:
    made = poll(A, seconds=15)

    written = states(replace(made, result=replace(made.result, observed_at=at(14))))

    assert (written["observed_at"], written["polled_at"]) == ([at(14)], [at(15)])


def test_what_is_not_known_of_a_bucket_is_null_and_zero_is_zero() -> None:
    optional = (
        "responses_total", "responses_not_found", "responses_rate_limited", "responses_instance",
        "consumption_rate_per_minute", "exhaustion_projection_seconds", "error_404_rate",
    )  # fmt: skip
    zeros = observed(bucket(0, policy="B", response_counts=counts(0, 0, 0, "")), rate=0.0, empty=0.0, share=0.0)

    written = states(poll(A, zeros, category=None))

    assert {name: written[name] for name in optional} == {
        name: [None, "" if name == "responses_instance" else 0] for name in optional
    }
    assert written["category"] == [None]


# Policies


def test_a_policy_that_came_was_first_seen_and_changed_at_its_poll() -> None:
    assert policies(poll(A), poll(A, B, seconds=15)) == [
        ("A", 36_000, at(0), at(0), None),
        ("B", 36_000, at(15), at(15), None),
    ]


def test_a_policy_that_changes_twice_in_a_batch_is_one_row_with_the_last_figures() -> None:
    changes = [poll(bucket(1, policy="A", capacity=n), seconds=n) for n in (1, 2, 3)]

    assert policies(*changes) == [("A", 3, at(1), at(3), None)]


def test_a_policy_that_went_keeps_the_figures_it_had() -> None:
    known = {PARTICIPANT: Written({"A": Figures(36_000, 1_200, 60), "B": Figures(7, 8, 9)})}
    written = rows.policies(decided(poll(A, seconds=15), known=known), known)

    assert columns("upsert_policies", written) == {
        "participant": [PARTICIPANT],
        "policy": ["B"],
        "capacity": [7],
        "refill_tokens": [8],
        "refill_period_seconds": [9],
        "first_seen_at": [at(15)],
        "changed_at": [at(15)],
        "gone_at": [at(15)],
    }


def test_a_policy_that_comes_and_goes_in_a_batch_is_gone() -> None:
    assert policies(poll(A), poll(A, B, seconds=15), poll(A, seconds=30)) == [
        ("A", 36_000, at(0), at(0), None),
        ("B", 36_000, at(15), at(30), at(30)),
    ]


def test_a_policy_that_goes_and_comes_back_in_a_batch_is_there() -> None:
    known = {PARTICIPANT: Written({"A": Figures(36_000, 1_200, 60), "B": Figures(7, 8, 9)})}

    assert policies(poll(A, seconds=15), poll(A, B, seconds=30), known=known) == [
        ("B", 36_000, at(15), at(30), None),
    ]


def test_one_policy_of_two_participants_is_two_rows() -> None:
    written = rows.policies(decided(poll(A), poll(bucket(1, policy="A", capacity=5), participant=OTHER)), {})

    found = columns("upsert_policies", written)
    assert list(zip(found["participant"], found["policy"], found["capacity"], strict=True)) == [
        (PARTICIPANT, "A", 36_000),
        (OTHER, "A", 5),
    ]


# Reconciliations


def test_an_answered_poll_is_a_row_with_its_observation_and_without_a_failure() -> None:
    made = poll(
        A,
        B,
        seconds=15,
        refused=("C",),
        interval_seconds=10.0,
        staleness_seconds=300.0,
        duration_seconds=0.25,
        clock_skew_seconds=-1.5,
        known=Category("A", at(1), "B"),
        stream_began_at=at(0),
        traceparent="00-a-b-01",
    )

    written = reconciliations(Reconciliation(replace(made, last_success_at=at(2)), evaluated=True))

    assert {name: value for name, (value,) in written.items()} == {
        "participant": PARTICIPANT,
        "stream_id": "stream",
        "sequence": 2,
        "polled_at": at(15),
        "interval_seconds": 10,
        "staleness_seconds": 300,
        "duration_seconds": 0.25,
        "clock_skew_seconds": -1.5,
        "last_success_at": at(2),
        "known_category": "A",
        "category_changed_at": at(1),
        "previous_category": "B",
        "stream_began_at": at(0),
        "traceparent": "00-a-b-01",
        "answered": True,
        "is_read": False,
        "observed_at": at(15),
        "category": "A",
        "correlation_id": "c-1",
        "failure_code": None,
        "failure_message": None,
        "evaluated": True,
        "complete": True,
        "states_written": 2,
        "transitions": 0,
        "policies": "{" + '"A","B"' + "}",
        "policies_came": "{" + '"A","B"' + "}",
        "policies_gone": None,
        "policies_refused": "{" + '"C"' + "}",
        "rule_failures": None,
    }


def test_a_failed_poll_is_a_row_with_its_failure_and_without_an_observation() -> None:
    written = reconciliations(failed(0, "DEADLINE_EXCEEDED"))

    assert written["answered"] == [False]
    assert (written["failure_code"], written["failure_message"]) == (
        ["DEADLINE_EXCEEDED"],
        ["the Bridge did not answer"],
    )
    absent = ("observed_at", "category", "correlation_id", "policies", "policies_came", "policies_gone")
    assert all(written[name] == [None] for name in (*absent, "policies_refused", "last_success_at"))
    assert (written["complete"], written["states_written"]) == ([False], [0])


def test_a_poll_that_came_late_is_a_row_that_was_not_evaluated() -> None:
    assert reconciliations(Reconciliation(poll(A), evaluated=False))["evaluated"] == [False]


def test_polls_are_rows_in_order_whatever_became_of_them() -> None:
    written = reconciliations(poll(A, B), failed(15), poll(A, B, seconds=30), poll(A, seconds=45))

    assert written["polled_at"] == [at(0), at(15), at(30), at(45)]
    assert written["answered"] == [True, False, True, True]
    assert written["complete"] == [True, False, False, False]
    assert written["states_written"] == [2, 0, 0, 0]
    assert [p and read(p) for p in written["policies"]] == [["A", "B"], None, None, ["A"]]
    assert [p and read(p) for p in written["policies_gone"]] == [None, None, None, ["B"]]
    assert written["policies_refused"] == [None] * 4


def test_an_answer_without_policies_is_not_an_answer_with_those_of_before() -> None:
    empty = replace(poll(A, seconds=15).result, buckets=())

    assert reconciliations(poll(A), poll(seconds=15, result=empty))["policies"][1] == "{}"


def test_transitions_of_a_poll_are_counted_and_failures_of_its_rules_are_told() -> None:
    failure = RuleFailure("dict", "TokensLow", 'a "quoted" reason')

    written = reconciliations(replace(reconciled(0, after=(alert(),)), failures=(failure,)))

    assert written["transitions"] == [1]
    (told,) = written["rule_failures"]
    assert told == [{"group": "dict", "name": "TokensLow", "message": 'a "quoted" reason'}]


def test_polls_are_looked_for_by_what_identifies_them() -> None:
    batch = [reconciled(0), reconciled(15, participant=OTHER)]

    assert columns("already_reconciled", rows.identities(batch)) == {
        "participant": [PARTICIPANT, OTHER],
        "polled_at": [at(0), at(15)],
        "stream_id": ["stream", "stream"],
        "sequence": [1, 2],
    }


# Alerts


def test_an_alert_instance_is_deleted_by_fingerprint_and_beginning() -> None:
    one, two = pending(alert("One", seconds=0)), pending(alert("Two", seconds=15))

    assert columns("delete_ended_alerts", rows.instances([one, two])) == {
        "fingerprint": [one.fingerprint, two.fingerprint],
        "active_since": [at(0), at(15)],
    }


optional_times = st.none() | times
any_alert = st.builds(
    replace,
    st.builds(alert, policy=st.none() | st.just(POLICY)),
    group=storable,
    severity=st.sampled_from(Severity),
    annotations=st.dictionaries(storable, storable, max_size=1),
    value=figures,
    state=st.sampled_from(AlertState),
    active_since=times,
    firing_since=optional_times,
    keep_firing_since=optional_times,
    resolved_at=optional_times,
    reason=st.none() | st.sampled_from(Reason),
)


@given(st.lists(any_alert, min_size=1, max_size=2))
def test_alerts_are_read_back_as_they_were_written(alerts) -> None:
    written = columns("upsert_alerts", rows.alerts(alerts))

    select = re.search(r"SELECT\s+(.*?)\s+FROM", queries("writer")["open_alerts"].decode(), re.DOTALL)
    assert select
    selected = [written[column] for column in re.split(r",\s+", select[1])]
    assert [rows.alert(row) for row in zip(*selected, strict=True)] == alerts


def test_an_alert_whose_value_is_no_number_is_written_so() -> None:
    (value,) = columns("upsert_alerts", rows.alerts([alert(value=math.nan)]))["value"]

    assert math.isnan(value)


def test_the_audit_has_the_figures_of_the_transition_and_none_for_pending() -> None:
    firing = replace(alert(seconds=0), firing_since=at(15), value=91.5)
    waits = pending(firing)
    batch = [
        reconciled(0, after=(waits,)),
        reconciled(15, before=(waits,), after=(firing,), poll=poll(bucket(9), seconds=15, category="C")),
        reconciled(30, before=(firing,)),
    ]

    written = columns("insert_alert_transitions", rows.transitions(alerts_to_write(batch).entered))

    assert written == {
        "fingerprint": [firing.fingerprint] * 3,
        "active_since": [at(0)] * 3,
        "state": ["pending", "firing", "resolved"],
        "changed_at": [at(0), at(15), at(30)],
        "reason": [None, None, "recovered"],
        "value": [91.5] * 3,
        "psp_category": [None, "C", "A"],
        "observed_at": [None, at(15), at(30)],
        "available_tokens": [None, 9, 36_000],
        "capacity": [None, 36_000, 36_000],
    }


def test_the_audit_of_an_alert_about_the_participant_has_no_bucket() -> None:
    silent = alert("Silent", policy=None)

    written = columns(
        "insert_alert_transitions", rows.transitions(alerts_to_write([reconciled(0, after=(silent,))]).entered)
    )

    assert (written["available_tokens"], written["capacity"]) == ([None], [None])


# Events


def test_each_transition_is_an_event_in_order_with_the_trace_of_its_poll() -> None:
    firing, silent = alert(), alert("Silent", policy=None)
    batch = [
        reconciled(0, after=(firing, silent), traceparent="00-a-b-01"),
        reconciled(15, before=(firing, silent), after=(silent,)),
    ]

    written = columns("insert_events", rows.events(batch))

    events = [event_of(t) for r in batch for t in r.transitions]
    assert written["event_id"] == [event.event_id for event in events]
    assert written["fingerprint"] == [firing.fingerprint, silent.fingerprint, firing.fingerprint]
    assert [kind.rsplit(".", 1)[1] for kind in written["type"]] == ["firing", "firing", "resolved"]
    assert written["event_time"] == [at(0), at(0), at(15)]
    assert written["subject"] == [event.subject for event in events]
    assert written["subject"][0] == f"{PARTICIPANT}/{POLICY}/TokensLow"
    assert written["traceparent"] == ["00-a-b-01", "00-a-b-01", None]
    assert written["body"] == [json.loads(json.dumps(event.body)) for event in events]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_an_event_of_a_value_that_is_no_number_is_still_json(value: float) -> None:
    (body,) = columns("insert_events", rows.events([reconciled(0, after=(alert(value=value),))]))["body"]

    assert float(body["value"]) == value or math.isnan(value)


@given(st.lists(st.none() | storable))
def test_texts_are_read_as_they_were(values) -> None:
    assert read(of_texts(values)) == values


@given(st.lists(st.none() | figures))
def test_floats_keep_every_bit(values) -> None:
    assert read(of_numbers(values), "float8") == values


@given(st.lists(st.none() | st.integers(-INT64_MAX - 1, INT64_MAX)))
def test_integers_are_read_as_they_were(values) -> None:
    assert read(of_numbers(values), "int8") == values


@given(st.lists(st.none() | times))
def test_times_are_read_to_the_microsecond(values) -> None:
    assert read(of_times(values), "timestamptz") == values


@given(st.lists(st.booleans()))
def test_booleans_are_read_as_they_were(values) -> None:
    assert read(of_booleans(values), "bool") == values


@pytest.mark.parametrize("array", [of_texts, of_numbers, of_times, of_booleans])
def test_no_values_are_an_empty_array(array) -> None:
    assert array([]) == "{}"


@pytest.mark.parametrize(
    "text", ["", " ", "NULL", "null", "{}", "a,b", 'a"b', "a\\b", '\\"', "\\\\", "\n\t", "ü🪣", "{NULL}"]
)
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    assert read(of_texts([text, None, text])) == [text, None, text]


@pytest.mark.parametrize(
    ("text", "literal"),
    [("a", '{"a"}'), ("", '{""}'), ('a"b', r'{"a\"b"}'), ("a\\b", r'{"a\\b"}'), ('\\"', r'{"\\\""}'), (None, "{NULL}")],
)
def test_quotes_and_backslashes_are_escaped_each_once(text: str | None, literal: str) -> None:
    assert of_texts([text]) == literal


def test_nan_is_not_null() -> None:
    nan, null = read(of_numbers([math.nan, None]), "float8")

    assert math.isnan(nan)
    assert null is None


def test_an_array_within_an_array_is_one_text() -> None:
    policies = ["A", 'B"', "C\\"]

    (inner,) = read(of_texts([of_texts(policies)]))

    assert read(inner) == policies


def test_a_time_is_told_with_its_offset() -> None:
    assert of_times([at(0.5), None]) == "{2026-03-10T12:00:00.500000+00:00,NULL}"

"""What is written of polls gives them back, and what is written of alerts does not depend on how polls are batched."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.alerts.alert import AlertState
from exporter.buckets.bucket import Ispb, PolicyName
from exporter.buckets.observation import Observation
from exporter.store.reconciliation import (
    AlertsToWrite,
    Figures,
    Reconciliation,
    StatesToWrite,
    Written,
    alerts_to_write,
    states_to_write,
)
from tests.support.builders import PARTICIPANT, alert, at, bucket, counts, failed, observed, poll, read
from tests.support.stored import HEARTBEAT_SECONDS, pending, reconciled, resolved

if TYPE_CHECKING:
    from datetime import datetime

    from exporter.alerts.alert import Alert, Fingerprint
    from exporter.buckets.observation import BucketObservation, Poll

A, B, C = (bucket(100, policy=name) for name in "ABC")
OTHER = Ispb("87654321")


def writes(*polls: Poll, before: Written | None = None) -> list[StatesToWrite]:
    """What is written of each of these polls, one after another."""
    written = before or Written({})
    made = []
    for one in polls:
        made.append(states_to_write(written, one, HEARTBEAT_SECONDS))
        written = made[-1].after
    return made


def policies(buckets: tuple[BucketObservation, ...]) -> str:
    return "".join(o.bucket.policy for o in buckets)


# States


def test_the_first_answer_of_a_participant_is_written_in_full() -> None:
    (first,) = writes(poll(A, B))

    assert first.complete
    assert policies(first.buckets) == "AB"
    assert first.policies == ("A", "B")


def test_an_answer_like_the_last_writes_nothing() -> None:
    _, second = writes(poll(A, B, seconds=0), poll(A, B, seconds=15))

    assert not second.complete
    assert second.buckets == ()
    assert second.policies is None


@pytest.mark.parametrize(
    "changed",
    [
        bucket(99, policy="A"),
        bucket(100, policy="A", capacity=40_000),
        bucket(100, policy="A", refill_tokens=7),
        bucket(100, policy="A", refill_period_seconds=61),
        bucket(100, policy="A", response_counts=counts()),
        observed(A, rate=1.0),
        observed(A, empty=0.0),
        observed(A, share=0.0),
    ],
)
def test_a_bucket_is_written_when_anything_in_its_state_changed_and_the_others_are_not(changed) -> None:
    _, second = writes(poll(A, B, seconds=0), poll(changed, B, seconds=15))

    assert policies(second.buckets) == "A"
    assert not second.complete
    assert second.policies is None


@pytest.mark.parametrize(
    ("seconds", "complete"),
    [(HEARTBEAT_SECONDS - 0.000001, False), (HEARTBEAT_SECONDS, True), (HEARTBEAT_SECONDS + 1, True)],
)
def test_all_buckets_are_written_again_when_the_heartbeat_has_passed(seconds: float, complete: bool) -> None:  # noqa: FBT001
    _, second = writes(poll(A, B, seconds=0, sequence=1), poll(A, B, seconds=seconds, sequence=2))

    assert second.complete is complete
    assert policies(second.buckets) == ("AB" if complete else "")


def test_the_heartbeat_counts_from_when_all_were_written_not_from_when_some_were() -> None:
    changed = bucket(99, policy="A")

    *_, last = writes(poll(A, seconds=0), poll(changed, seconds=600), poll(changed, seconds=HEARTBEAT_SECONDS))

    assert last.complete


def test_the_heartbeat_begins_again_when_all_were_written() -> None:
    polls = [poll(A, seconds=s) for s in (0, HEARTBEAT_SECONDS, 2 * HEARTBEAT_SECONDS - 1, 2 * HEARTBEAT_SECONDS)]

    assert [w.complete for w in writes(*polls)] == [True, True, False, True]


@pytest.mark.parametrize(
    "later",
    [
        poll(A, seconds=15, stream_id="another"),
        poll(A, seconds=15, category="B"),
        poll(A, seconds=15, category=None),
        poll(A, seconds=15, sequence=1),
        poll(A, seconds=-1, sequence=2),
    ],
    ids=["another stream", "another category", "no category", "the same sequence", "earlier"],
)
def test_an_answer_that_does_not_follow_the_last_is_written_in_full(later: Poll) -> None:
    _, second = writes(poll(A, seconds=0, sequence=1), later)

    assert second.complete
    assert policies(second.buckets) == "A"
    assert second.policies == ("A",)


def test_an_answer_at_the_instant_of_the_last_follows_it() -> None:
    _, second = writes(poll(A, seconds=0, sequence=1), poll(A, seconds=0, sequence=2))

    assert not second.complete


def test_a_writer_that_begins_again_writes_the_next_answer_in_full() -> None:
    (first,) = writes(poll(A, seconds=0))

    (second,) = writes(poll(A, seconds=15), before=replace(first.after, chain=None))

    assert second.complete
    assert second.figures == {}


def test_a_failed_poll_writes_no_state_and_the_next_answer_follows_the_last() -> None:
    first, second, third = writes(poll(A, B, seconds=0), failed(15), poll(A, bucket(9, policy="B"), seconds=30))

    assert second.after == first.after
    assert (second.buckets, second.policies, second.complete) == ((), None, False)
    assert (second.added, second.removed, second.figures) == ((), (), {})
    assert not third.complete
    assert policies(third.buckets) == "B"


# Policies


def test_policies_are_told_when_they_are_not_those_of_the_answer_before() -> None:
    told = [w.policies for w in writes(poll(A), poll(A, B, seconds=15), poll(B, seconds=30), poll(B, seconds=45))]

    assert told == [("A",), ("A", "B"), ("B",), None]


def test_a_bucket_whose_policy_comes_back_is_written_even_where_it_did_not_change() -> None:
    *_, last = writes(poll(A, B, seconds=0), poll(A, seconds=15), poll(A, B, seconds=30))

    assert policies(last.buckets) == "B"
    assert last.added == ("B",)


def test_policies_come_once_and_go_once_in_order() -> None:
    all_of_them = [bucket(100, policy=name) for name in "ABCDEFGH"]
    written = writes(poll(A, seconds=0), poll(*all_of_them, seconds=15), poll(A, seconds=30), poll(A, seconds=45))

    later = tuple("BCDEFGH")
    assert [(w.added, w.removed) for w in written] == [(("A",), ()), (later, ()), ((), later), ((), ())]
    assert list(written[-1].after.policies) == ["A"]


def test_a_policy_whose_capacity_or_refill_changed_has_other_figures_and_did_not_come() -> None:
    *_, last = writes(poll(A, B), poll(bucket(100, policy="A", capacity=5_000, refill_tokens=7), B, seconds=15))

    assert last.figures == {"A": Figures(5_000, 7, 60)}
    assert last.added == ()
    assert last.after.policies == {"A": Figures(5_000, 7, 60), "B": Figures(36_000, 1_200, 60)}


def test_a_policy_whose_tokens_changed_has_the_same_figures() -> None:
    *_, last = writes(poll(A), poll(bucket(1, policy="A"), seconds=15))

    assert last.figures == {}


def test_a_policy_with_impossible_figures_is_not_gone_and_keeps_those_it_had() -> None:
    first, second, third = writes(poll(A, B), poll(A, seconds=15, refused=("B",)), poll(A, B, seconds=30))

    assert second.removed == ()
    assert second.policies == ("A",)
    assert second.after.policies == first.after.policies
    assert (third.added, third.figures) == ((), {})
    assert policies(third.buckets) == "B"


def test_a_policy_that_was_never_answered_with_possible_figures_has_not_come() -> None:
    first, second = writes(poll(A, refused=("B",)), poll(A, seconds=15))

    assert first.added == ("A",)
    assert second.removed == ()


def test_policies_of_a_participant_outlive_the_stream_that_told_them() -> None:
    _, second = writes(poll(A, B, seconds=0), poll(B, seconds=15, stream_id="another", sequence=1))

    assert second.removed == ("A",)
    assert second.added == ()
    assert second.figures == {}


# Reads


def test_a_read_writes_its_bucket_where_that_changed_and_the_next_answer_follows_both() -> None:
    _, same, changed, whole = writes(
        poll(A, B),
        read(B, seconds=5, sequence=2),
        read(bucket(1, policy="B"), seconds=10, sequence=3),
        poll(bucket(2, policy="A"), bucket(1, policy="B"), seconds=15, sequence=4),
    )

    assert (policies(same.buckets), same.policies, same.complete) == ("", ("B",), False)
    assert (policies(changed.buckets), changed.policies, changed.complete) == ("B", ("B",), False)
    assert (policies(whole.buckets), whole.policies, whole.complete) == ("A", None, False)


def test_a_read_removes_no_policy_and_tells_of_new_figures() -> None:
    larger = bucket(1, policy="B", capacity=100_000)

    _, changed, whole = writes(poll(A, B), read(larger, seconds=5, sequence=2), poll(A, larger, seconds=15, sequence=3))

    assert (changed.removed, changed.added, list(changed.figures)) == ((), (), ["B"])
    assert (whole.removed, whole.figures) == ((), {})


def test_a_writer_that_begins_again_with_a_read_writes_it_and_the_next_answer_in_full() -> None:
    _, before = writes(poll(A, B), poll(A, B, seconds=15))

    one, whole = writes(
        read(B, seconds=20, sequence=3), poll(A, B, seconds=30, sequence=4), before=replace(before.after, chain=None)
    )

    assert (policies(one.buckets), one.complete) == ("B", False)
    assert (policies(whole.buckets), whole.complete) == ("AB", True)


# Any history

BUCKETS = {name: st.integers(0, 2) for name in "ABC"}
answers = st.fixed_dictionaries(
    {
        "tokens": st.fixed_dictionaries(BUCKETS),
        "capacity": st.sampled_from([10, 20]),
        "present": st.sets(st.sampled_from("ABC")),
        "refused": st.sets(st.sampled_from("ABC")),
        "category": st.sampled_from(["A", "A", "B", None]),
    }
)
plans = st.lists(
    st.tuples(
        st.sampled_from(["answer", "answer", "repeat", "repeat", "read", "read", "fail", "new stream", "restart"]),
        st.sampled_from([0, 15, 400, 899, -15]),
        answers,
    ),
    max_size=20,
)


def history(plan) -> list[tuple[Poll, bool]]:
    """The polls of a plan, and before which of them the writer begins again."""
    polls, stream, sequence, seconds = [], 0, 0, 0
    answer = {"tokens": dict.fromkeys("ABC", 1), "capacity": 10, "present": {"A"}, "refused": set(), "category": "A"}
    for step, wait, new in plan:
        seconds, sequence = seconds + wait, sequence + 1
        if step == "new stream":
            stream, sequence = stream + 1, 1
        if step == "answer":
            answer = new
        identity = {"seconds": seconds, "sequence": sequence, "stream_id": f"stream {stream}"}
        present = sorted(answer["present"] - answer["refused"])
        result = Observation(
            PARTICIPANT,
            at(seconds),
            answer["category"],
            "c-1",
            tuple(observed(bucket(answer["tokens"][p], policy=p, capacity=answer["capacity"])) for p in present),
            tuple(PolicyName(p) for p in sorted(answer["refused"])),
        )
        made = failed(**identity) if step == "fail" else poll(result=result, **identity)
        if step == "read":
            one = bucket(new["tokens"]["A"], policy="A", capacity=answer["capacity"])
            made = read(one, seconds=seconds, sequence=sequence, stream_id=f"stream {stream}")
        polls.append((made, step == "restart"))
    return polls


@given(plans)
def test_what_is_written_gives_back_every_answer(plan) -> None:
    written, last, order = Written({}), {}, ()
    for made, restarts in history(plan):
        states = states_to_write(replace(written, chain=None) if restarts else written, made, HEARTBEAT_SECONDS)
        written = states.after
        if not isinstance(made.result, Observation):
            continue

        last = ({} if states.complete else last) | {o.bucket.policy: o for o in states.buckets}
        if made.result.is_whole:
            order = order if states.policies is None else states.policies

        assert tuple(last[policy] for policy in (order if made.result.is_whole else states.policies)) == (
            made.result.buckets
        )


def test_a_bucket_that_a_read_told_of_first_is_among_the_next_answers_policies() -> None:
    told = observed(bucket(policy="A"))
    empty = poll(result=Observation(Ispb(PARTICIPANT), at(0), "A", "c-1", ()))
    again = poll(told, seconds=15, sequence=3)

    *_, states = writes(empty, read(told, seconds=7, sequence=2), again)

    assert states.policies == ("A",)


@given(plans)
def test_no_state_grows_as_old_as_the_heartbeat(plan) -> None:
    polls = [made for made, _ in history(plan)]
    complete_at = None
    for made, states in zip(polls, writes(*polls), strict=True):
        complete_at = made.polled_at if states.complete else complete_at

        if made.answered and not made.is_read:
            assert complete_at is not None
            assert (made.polled_at - complete_at).total_seconds() < HEARTBEAT_SECONDS


@given(plans)
def test_policies_that_came_and_are_not_gone_are_those_answered_last_and_those_refused(plan) -> None:
    written, table = Written({}), {}
    for made, restarts in history(plan):
        states = states_to_write(replace(written, chain=None) if restarts else written, made, HEARTBEAT_SECONDS)
        written = states.after
        if not isinstance(made.result, Observation):
            continue

        present = {o.bucket.policy for o in made.result.buckets}
        expected = present | (table.keys() & set(made.result.refused) if made.result.is_whole else table.keys())
        assert states.added == tuple(sorted(present - table.keys()))
        assert states.removed == tuple(sorted(table.keys() - expected))
        table = {p: f for p, f in (table | dict(states.figures)).items() if p not in states.removed}

        assert table == written.policies
        assert table.keys() == expected
        assert all(table[o.bucket.policy].capacity == o.bucket.capacity for o in made.result.buckets)


# Alerts


def told(written: AlertsToWrite) -> list[tuple[AlertState, datetime]]:
    return [(e.alert.state, e.at) for e in written.entered]


def test_no_polls_leave_nothing_of_alerts() -> None:
    assert alerts_to_write([]) == AlertsToWrite((), (), (), ())


def test_an_alert_that_did_not_change_is_not_written() -> None:
    firing = alert()

    assert alerts_to_write([reconciled(15, before=(firing,), after=(firing,))]) == AlertsToWrite((), (), (), ())


def test_an_alert_that_changed_is_written_and_entered_no_state() -> None:
    firing = alert()
    changed = replace(firing, value=99.0)

    written = alerts_to_write([reconciled(15, before=(firing,), after=(changed,))])

    assert written == AlertsToWrite((), (), (changed,), ())


def test_an_alert_that_begins_to_wait_entered_pending_at_its_poll() -> None:
    waits = pending(alert(seconds=15))

    written = alerts_to_write([reconciled(15, after=(waits,))])

    assert written.open == (waits,)
    assert told(written) == [(AlertState.PENDING, at(15))]
    assert written.entered[0].transition is None


def test_a_pending_alert_that_changed_enters_pending_once() -> None:
    waits = pending(alert())
    changed = replace(waits, value=99.0)

    written = alerts_to_write([reconciled(0, after=(waits,)), reconciled(15, before=(waits,), after=(changed,))])

    assert written.open == (changed,)
    assert told(written) == [(AlertState.PENDING, at(0))]


def test_an_alert_is_written_as_the_batch_left_it_with_every_state_that_it_entered() -> None:
    firing = replace(alert(seconds=0), firing_since=at(15))
    waits = pending(firing)

    written = alerts_to_write(
        [
            reconciled(0, after=(waits,)),
            reconciled(15, before=(waits,), after=(firing,)),
            (last := reconciled(30, before=(firing,))),
        ]
    )

    assert (written.ended, written.open) == ((), ())
    assert written.resolved == (resolved(firing, 30),)
    assert told(written) == [(AlertState.PENDING, at(0)), (AlertState.FIRING, at(15)), (AlertState.RESOLVED, at(30))]
    assert written.entered[-1].transition is last.transitions[0]


def test_a_pending_alert_that_ends_in_its_batch_leaves_no_trace() -> None:
    waits = pending(alert())

    written = alerts_to_write([reconciled(0, after=(waits,)), reconciled(15, before=(waits,))])

    assert written == AlertsToWrite((waits,), (), (), ())


def test_a_pending_alert_of_an_earlier_batch_that_ends_is_deleted() -> None:
    waits = pending(alert())

    assert alerts_to_write([reconciled(15, before=(waits,))]).ended == (waits,)


def test_a_pending_alert_that_begins_again_at_one_poll_ends_and_begins() -> None:
    first, second = pending(alert(seconds=0)), pending(alert(seconds=15))

    written = alerts_to_write([reconciled(15, before=(first,), after=(second,))])

    assert written.ended == (first,)
    assert written.open == (second,)
    assert told(written) == [(AlertState.PENDING, at(15))]


def test_a_firing_alert_that_is_replaced_at_one_poll_resolves_and_the_next_fires() -> None:
    first, second = alert(seconds=0), alert(seconds=15)

    written = alerts_to_write([reconciled(15, before=(first,), after=(second,))])

    assert written == AlertsToWrite((), (resolved(first, 15),), (second,), written.entered)
    assert told(written) == [(AlertState.RESOLVED, at(15)), (AlertState.FIRING, at(15))]


def test_a_pending_alert_that_fires_and_resolves_at_one_poll_is_kept() -> None:
    firing = replace(alert(), firing_since=at(15))
    fired = reconciled(15, before=(pending(firing),), after=(firing,)).transitions
    ended = reconciled(15, before=(firing,)).transitions
    both = replace(reconciled(15, before=(pending(firing),)), transitions=fired + ended)

    written = alerts_to_write([both])

    assert (written.ended, written.resolved) == ((), (resolved(firing, 15),))


def test_a_poll_that_came_late_leaves_nothing_of_alerts() -> None:
    firing = alert()
    late = Reconciliation(poll(seconds=15), evaluated=False)

    written = alerts_to_write(
        [late, replace(late, alerts_before={firing.fingerprint: firing}, alerts_after={firing.fingerprint: firing})]
    )

    assert written == AlertsToWrite((), (), (), ())


@dataclass
class Table:
    """Alerts and their audit as the writer's statements keep them."""

    alerts: dict[tuple[Fingerprint, datetime], Alert] = field(default_factory=dict)
    audit: dict[tuple[Fingerprint, datetime, AlertState], datetime] = field(default_factory=dict)

    def write(self, written: AlertsToWrite) -> None:
        for ended in written.ended:
            stored = self.alerts.get((ended.fingerprint, ended.active_since))
            if stored is not None:
                assert stored.state is AlertState.PENDING
                del self.alerts[ended.fingerprint, ended.active_since]
                self.audit = {key: when for key, when in self.audit.items() if key[:2] != _instance(ended)}
        for made in (*written.resolved, *written.open):
            stored = self.alerts.get(_instance(made))
            assert stored is None or stored.state is not AlertState.RESOLVED
            self.alerts[_instance(made)] = made
            fingerprints = [a.fingerprint for a in self.open]
            assert len(fingerprints) == len(set(fingerprints))
        for entered in written.entered:
            assert _instance(entered.alert) in self.alerts
            assert (entered.transition is None) == (entered.alert.state is AlertState.PENDING)
            self.audit.setdefault((*_instance(entered.alert), entered.alert.state), entered.at)

    @property
    def open(self) -> list[Alert]:
        return [a for a in self.alerts.values() if a.state is not AlertState.RESOLVED]


def _instance(of: Alert) -> tuple[Fingerprint, datetime]:
    return of.fingerprint, of.active_since


def moved(was: Alert | None, step: str, new: Alert) -> Alert | None:
    """The alert after a step of its life."""
    if step == "ends":
        return None
    if step == "changes":
        return was and replace(was, value=was.value + 1)
    if step == "waits":
        return was or pending(new)
    if step == "fires" and was is not None:
        return (
            was
            if was.state is AlertState.FIRING
            else replace(was, state=AlertState.FIRING, firing_since=new.firing_since)
        )
    return pending(new) if step == "waits anew" else new


ALERTS = [(PARTICIPANT, "Low"), (PARTICIPANT, "Silent"), (OTHER, "Low")]
lives = st.lists(
    st.tuples(*(st.sampled_from(["waits", "fires", "ends", "changes", "waits anew", "fires anew"]) for _ in ALERTS)),
    max_size=12,
)


def reconciliations(steps) -> list[Reconciliation]:
    now: dict[tuple[Ispb, str], Alert | None] = dict.fromkeys(ALERTS)
    made = []
    for place, moves in enumerate(steps):
        seconds = 15 * place
        was, now = (
            now,
            {
                (participant, name): moved(
                    now[participant, name], step, alert(name, seconds=seconds, participant=participant)
                )
                for (participant, name), step in zip(ALERTS, moves, strict=True)
            },
        )
        for participant in (PARTICIPANT, OTHER):
            before, after = (tuple(a for (p, _), a in of.items() if p == participant and a) for of in (was, now))
            made.append(reconciled(seconds, participant=participant, before=before, after=after))
    return made


@given(lives, st.lists(st.integers(1, 6), max_size=24))
def test_alerts_and_audit_do_not_depend_on_how_polls_are_batched(steps, sizes) -> None:
    history = reconciliations(steps)
    one_by_one, batched = Table(), Table()
    for reconciliation in history:
        one_by_one.write(alerts_to_write([reconciliation]))
    left = list(history)
    for size in [*sizes, len(history)]:
        batch, left = left[:size], left[size:]
        batched.write(alerts_to_write(batch))

    assert batched == one_by_one
    assert sorted(map(_instance, batched.open)) == sorted(
        _instance(a) for r in history[-2:] for a in r.alerts_after.values()
    )
    assert {key: when for key, when in batched.audit.items() if key[2] is not AlertState.PENDING} == {
        (*_instance(t.alert), t.alert.state): t.at for r in history for t in r.transitions
    }

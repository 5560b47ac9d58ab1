"""The life of an alert."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.alerts.alert import (
    Alert,
    AlertState,
    Evaluation,
    Reason,
    RuleSample,
    Severity,
    by_fingerprint,
    fingerprint,
)
from exporter.alerts.lifecycle import evaluate, remove_participant
from exporter.alerts.written_series import WrittenSample
from exporter.errors import RuleEvaluationFailed
from tests.support.builders import PARTICIPANT, POLICY, alert, at, bucket, failed, poll, view

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from exporter.alerts.history import History
    from exporter.buckets.observation import View


@dataclass(frozen=True)
class StandInRule:
    """Fires for POLICY while ``true``, or gives what ``result`` says."""

    kind: ClassVar[Literal["alerting"]] = "alerting"

    name: str = "TokensLow"
    group: str = "dict"
    severity: Severity = Severity.WARNING
    for_seconds: float = 0
    keep_firing_for_seconds: float = 0
    limit: int = 0
    query_offset_ms: int = 0
    per_policy: bool = True
    true: bool = True
    value: float = 85.0
    data: bool = True
    result: Callable[[View, Sequence[Alert]], list[RuleSample]] | None = None
    more_labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def fixed_labels(self) -> dict[str, str]:
        return {"severity": str(self.severity)} | self.more_labels

    def has_data(self, view: View, policy: str | None) -> bool:
        return self.data and (policy in view.buckets if self.per_policy else view.participant == PARTICIPANT)

    def sample(self, **labels: str) -> RuleSample:
        own = {"alertname": self.name, "severity": str(self.severity), "participant": PARTICIPANT}
        if self.per_policy:
            own["policy"] = POLICY
        return RuleSample(own | labels | dict(self.more_labels), {"summary": f"{self.value:g}"}, self.value)

    def written_by(self, alerts: Iterable[Alert], _: Collection[str]) -> Iterator[WrittenSample]:
        yield from (WrittenSample("ALERTS", tuple(sorted(alert.labels.items())), alert.value) for alert in alerts)

    def evaluate(self, view: View, alerts: Collection[Alert], history: History | None = None) -> list[RuleSample]:
        if self.result is not None:
            return self.result(view, tuple(alerts))
        return [self.sample()] if self.true and view.participant == PARTICIPANT else []


def after(*steps: tuple[float, Sequence[StandInRule]], open_alerts=()) -> Evaluation:
    """The last of several evaluations, each at so many seconds with these rules."""
    evaluation = Evaluation(by_fingerprint(open_alerts))
    for seconds, rules in steps:
        evaluation = evaluate(rules, view(poll(seconds=seconds)), evaluation.alerts)
    return evaluation


def worth(value: float) -> StandInRule:
    """A rule whose sample has this value, and nothing else that could change."""
    return StandInRule(result=lambda _view, _alerts: [replace(StandInRule().sample(), value=value)])


def only(evaluation: Evaluation) -> Alert:
    (found,) = evaluation.alerts.values()
    return found


def test_an_alert_without_for_fires_at_once() -> None:
    evaluation = after((0, [StandInRule()]))

    assert only(evaluation).state is AlertState.FIRING
    assert [t.alert.state for t in evaluation.transitions] == [AlertState.FIRING]


def test_an_alert_says_whom_and_what_it_is_about() -> None:
    fired = only(after((0, [StandInRule()])))

    assert (fired.participant, fired.policy) == (PARTICIPANT, POLICY)
    assert (fired.group, fired.name, fired.severity) == ("dict", "TokensLow", Severity.WARNING)
    assert fired.fingerprint == fingerprint(fired.labels)


def test_an_alert_about_the_participant_has_no_policy() -> None:
    assert only(after((0, [StandInRule(per_policy=False)]))).policy is None


def test_a_fingerprint_is_the_one_of_every_earlier_version() -> None:
    labels = {"severity": "warning", "alertname": "TokensLow", "participant": "12345678", "policy": "ENTRIES_WRITE"}

    assert fingerprint(labels) == "8995fe80117b423534fbcd082ee37336"


def test_an_alert_is_pending_until_for_has_passed() -> None:
    rule = StandInRule(for_seconds=30)

    assert only(after((0, [rule]))).state is AlertState.PENDING
    assert only(after((0, [rule]), (15, [rule]))).state is AlertState.PENDING
    fired = after((0, [rule]), (15, [rule]), (30, [rule]))
    assert only(fired).state is AlertState.FIRING
    assert (only(fired).active_since, only(fired).firing_since) == (at(0), at(30))


def test_a_pending_alert_whose_condition_ends_leaves_no_trace() -> None:
    evaluation = after((0, [StandInRule(for_seconds=30)]), (15, [StandInRule(for_seconds=30, true=False)]))

    assert not evaluation.alerts
    assert not evaluation.transitions


def test_for_begins_again_after_a_pending_alert_ended() -> None:
    rule, false = StandInRule(for_seconds=30), StandInRule(for_seconds=30, true=False)

    evaluation = after((0, [rule]), (15, [false]), (30, [rule]))

    assert only(evaluation).active_since == at(30)


def test_a_firing_alert_is_announced_once() -> None:
    evaluation = after((0, [StandInRule()]), (15, [StandInRule()]))

    assert not evaluation.transitions


def test_an_alert_that_did_not_change_is_the_same_object() -> None:
    before = after((0, [StandInRule()]))

    again = evaluate([StandInRule()], view(poll(seconds=15)), before.alerts)

    assert only(again) is only(before)


def test_an_alert_from_the_database_that_did_not_change_is_the_same_object() -> None:
    stored = alert(annotations={"summary": "85"})

    assert only(after((15, [StandInRule()]), open_alerts=[stored])) is stored


@pytest.mark.parametrize(("before", "now"), [(math.nan, 1.0), (1.0, math.nan)])
def test_a_value_follows_the_sample_to_nan_and_back(before, now) -> None:
    evaluation = after((0, [worth(before)]), (15, [worth(now)]))

    assert str(only(evaluation).value) == str(now)


def test_an_alert_whose_value_stays_nan_is_the_same_object() -> None:
    before = after((0, [worth(math.nan)]))

    assert only(evaluate([worth(math.nan)], view(poll(seconds=15)), before.alerts)) is only(before)


def test_value_and_annotations_follow_the_sample() -> None:
    evaluation = after((0, [StandInRule()]), (15, [StandInRule(value=91)]))

    assert (only(evaluation).value, only(evaluation).annotations) == (91, {"summary": "91"})


def test_an_alert_resolves_when_its_condition_ends() -> None:
    evaluation = after((0, [StandInRule()]), (15, [StandInRule(true=False)]))

    (transition,) = evaluation.transitions
    assert (transition.alert.state, transition.alert.reason) == (AlertState.RESOLVED, Reason.RECOVERED)
    assert transition.alert.resolved_at == at(15)
    assert not evaluation.alerts


def test_keep_firing_for_holds_an_alert_for_so_long_after_its_condition_ended() -> None:
    true, false = StandInRule(keep_firing_for_seconds=30), StandInRule(keep_firing_for_seconds=30, true=False)

    held = after((0, [true]), (15, [false]), (30, [false]))
    assert only(held).keep_firing_since == at(15)
    assert [t.alert.state for t in after((0, [true]), (15, [false]), (30, [false]), (45, [false])).transitions] == [
        AlertState.RESOLVED
    ]


def test_keep_firing_for_of_a_second_outlives_the_poll_at_which_the_condition_ended() -> None:
    true, false = StandInRule(keep_firing_for_seconds=1), StandInRule(keep_firing_for_seconds=1, true=False)

    assert only(after((0, [true]), (15, [false]))).keep_firing_since == at(15)


def test_keep_firing_for_does_not_keep_a_pending_alert() -> None:
    times = {"for_seconds": 60, "keep_firing_for_seconds": 60}

    evaluation = after((0, [StandInRule(**times)]), (15, [StandInRule(**times, true=False)]))

    assert not evaluation.alerts


def test_keep_firing_for_begins_again_when_the_condition_was_true_meanwhile() -> None:
    true, false = StandInRule(keep_firing_for_seconds=30), StandInRule(keep_firing_for_seconds=30, true=False)

    evaluation = after((0, [true]), (15, [false]), (30, [true]), (45, [false]), (60, [false]))

    assert only(evaluation).keep_firing_since == at(45)


def test_an_alert_of_a_rule_that_is_gone_resolves_with_that_reason() -> None:
    evaluation = after((0, [StandInRule()]), (15, []))

    assert [t.alert.reason for t in evaluation.transitions] == [Reason.RULE_REMOVED]


def test_a_pending_alert_of_a_rule_that_is_gone_leaves_no_trace() -> None:
    evaluation = after((0, [StandInRule(for_seconds=60)]), (15, []))

    assert not evaluation.alerts
    assert not evaluation.transitions


def test_a_reload_that_changes_for_keeps_since_when() -> None:
    evaluation = after((0, [StandInRule(for_seconds=60)]), (15, [StandInRule(for_seconds=15)]))

    assert only(evaluation).state is AlertState.FIRING
    assert only(evaluation).active_since == at(0)


def test_a_rule_that_moved_to_another_group_keeps_its_alerts() -> None:
    evaluation = after((0, [StandInRule()]), (15, [StandInRule(group="other")]))

    assert only(evaluation).group == "other"
    assert not evaluation.transitions


def test_a_failing_rule_keeps_its_alerts_and_the_others_go_on() -> None:
    def fail(_view: View, _alerts: Sequence[Alert]) -> list[RuleSample]:
        raise RuleEvaluationFailed("many-to-many matching not allowed")

    other = StandInRule("Other")
    evaluation = after((0, [StandInRule()]), (15, [StandInRule(result=fail), other]))

    assert {a.name for a in evaluation.alerts.values()} == {"TokensLow", "Other"}
    assert [(f.group, f.name, f.message) for f in evaluation.failures] == [
        ("dict", "TokensLow", "many-to-many matching not allowed")
    ]


def test_two_samples_of_one_label_set_fail_the_rule() -> None:
    rule = StandInRule(result=lambda _v, _a: [StandInRule().sample(), StandInRule().sample()])

    evaluation = after((0, [rule]))

    assert not evaluation.alerts
    assert "one label set" in evaluation.failures[0].message


def test_a_label_that_is_not_utf_8_fails_the_rule_alone() -> None:
    def write(_view: View, _alerts: Sequence[Alert]) -> list[RuleSample]:
        return [StandInRule("First").sample(team="\udcff")]

    evaluation = after((0, [StandInRule("First", result=write), StandInRule("Second")]))

    assert [failure.message for failure in evaluation.failures] == ["a label is not UTF-8"]
    assert only(evaluation).name == "Second"


def test_two_rules_of_one_name_are_told_apart_by_severity() -> None:
    warning, critical = StandInRule(), StandInRule(severity=Severity.CRITICAL)

    evaluation = after((0, [warning, critical]), (15, [warning, StandInRule(severity=Severity.CRITICAL, true=False)]))

    assert only(evaluation).severity is Severity.WARNING


def test_two_rules_of_one_name_and_severity_hold_each_their_own() -> None:
    def other(_view: View, _alerts: Sequence[Alert]) -> list[RuleSample]:
        return [StandInRule().sample(team="b")]

    rules = [StandInRule(), StandInRule(result=other)]
    evaluation = after((0, rules), (15, rules))

    assert len(evaluation.alerts) == 2
    assert not evaluation.transitions


def test_of_rules_of_one_name_and_severity_the_one_that_named_an_alert_says_how_long_it_is_kept() -> None:
    rule, namesake = StandInRule(keep_firing_for_seconds=60), StandInRule(true=False)
    over = StandInRule(keep_firing_for_seconds=60, true=False)

    kept = after((0, [rule, namesake]), (15, [over, namesake]))
    ended = after((0, [rule, namesake]), (15, [over, namesake]), (75, [over, namesake]))

    assert only(kept).keep_firing_since == at(15)
    assert not ended.alerts


def test_a_reload_that_leaves_one_of_two_namesakes_lets_it_decide_about_the_alerts_of_both() -> None:
    first, second = StandInRule(true=False), StandInRule()

    evaluation = after((0, [first, second]), (15, [first]))

    assert [t.alert.reason for t in evaluation.transitions] == [Reason.RECOVERED]


def test_a_rule_that_fails_does_not_hold_the_alerts_of_its_namesake() -> None:
    def fail(_view: View, _alerts: Sequence[Alert]) -> list[RuleSample]:
        raise RuleEvaluationFailed("no")

    def other(_view: View, _alerts: Sequence[Alert]) -> list[RuleSample]:
        return [StandInRule().sample(team="b")]

    evaluation = after(
        (0, [StandInRule(), StandInRule(result=other)]),
        (15, [StandInRule(true=False), StandInRule(result=fail)]),
    )

    assert only(evaluation).labels["team"] == "b"


def test_a_rule_sees_what_those_before_it_made_and_its_own_of_before() -> None:
    seen: list[list[tuple[str, str]]] = []

    def look(_view: View, alerts: Sequence[Alert]) -> list[RuleSample]:
        seen.append(sorted((a.name, str(a.state)) for a in alerts))
        return [StandInRule("Second").sample()]

    rules = [StandInRule("First"), StandInRule("Second", result=look), StandInRule("Third")]
    after((0, rules), (15, rules))

    assert seen == [[("First", "firing")], [("First", "firing"), ("Second", "firing"), ("Third", "firing")]]


def test_a_rule_sees_alerts_of_groups_before_it_and_of_later_ones_as_they_were() -> None:
    seen: list[set[str]] = []

    def look(_view: View, alerts: Sequence[Alert]) -> list[RuleSample]:
        seen.append({alert.name for alert in alerts})
        return []

    rules = [StandInRule("First", group="a"), StandInRule("Second", group="b", result=look), StandInRule("Third", "c")]
    after((0, rules), (15, rules))

    assert seen == [{"First"}, {"First", "Third"}]


def of_policies(*policies: str) -> Callable[[View, Sequence[Alert]], list[RuleSample]]:
    return lambda _view, _alerts: [StandInRule().sample(policy=policy) for policy in policies]


def test_a_rule_with_more_alerts_than_its_limit_fails_and_keeps_its_alerts() -> None:
    one, two = (StandInRule(limit=1, result=of_policies(*policies)) for policies in ("A", "BC"))

    evaluation = after((0, [one]), (15, [two, StandInRule("Other")]))

    assert [failure.message for failure in evaluation.failures] == ["exceeded limit of 1 with 2 alerts"]
    assert {(alert.name, alert.policy) for alert in evaluation.alerts.values()} == {
        ("TokensLow", "A"),
        ("Other", POLICY),
    }


def test_alerts_up_to_the_limit_are_raised() -> None:
    evaluation = after((0, [StandInRule(limit=2, result=of_policies("A", "B"))]))

    assert len(evaluation.alerts) == 2
    assert evaluation.failures == ()


def test_alerts_that_are_kept_firing_count_towards_the_limit() -> None:
    first, then = (
        StandInRule(limit=1, keep_firing_for_seconds=60, result=of_policies(policy)) for policy in ("A", "B")
    )

    evaluation = after((0, [first]), (15, [then]))

    assert [failure.message for failure in evaluation.failures] == ["exceeded limit of 1 with 2 alerts"]


def test_alerts_of_a_namesake_do_not_count_towards_the_limit() -> None:
    first = StandInRule(limit=1, result=of_policies("A"))
    namesake = StandInRule(limit=1, group="other", result=of_policies("B"))

    evaluation = after((0, [first, namesake]), (15, [first, namesake]))

    assert len(evaluation.alerts) == 2
    assert evaluation.failures == ()


@pytest.mark.parametrize(
    ("seen", "data", "reason"),
    [
        (view(poll(bucket(policy=POLICY), seconds=15)), True, Reason.RECOVERED),
        (view(poll(bucket(policy=POLICY), seconds=15)), False, Reason.NO_DATA),
        (view(poll(bucket(policy="OTHER"), seconds=15)), True, Reason.POLICY_GONE),
        (view(failed(15)), True, Reason.NO_DATA),
    ],
)
def test_a_resolution_says_why(seen, data, reason) -> None:
    evaluation = evaluate([StandInRule(true=False, data=data)], seen, by_fingerprint([alert()]))

    assert [t.alert.reason for t in evaluation.transitions] == [reason]


def test_an_alert_is_held_while_the_figures_of_its_bucket_are_refused() -> None:
    refused = view(poll(bucket(policy="OTHER"), seconds=15, refused=(POLICY,)))
    held = evaluate([StandInRule(true=False)], refused, by_fingerprint([alert()]))
    gone = evaluate([StandInRule(true=False)], view(poll(bucket(policy="OTHER"), seconds=30)), held.alerts)

    assert (held.transitions, list(held.alerts.values())) == ((), [alert()])
    assert [t.alert.reason for t in gone.transitions] == ["policy_gone"]


def test_a_pending_alert_is_not_held_while_the_figures_of_its_bucket_are_refused() -> None:
    refused = view(poll(bucket(policy="OTHER"), seconds=15, refused=(POLICY,)))

    assert not evaluate([StandInRule(true=False)], refused, by_fingerprint([alert(state=AlertState.PENDING)])).alerts


LABELS = {"team": "pix"}


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (StandInRule(), StandInRule(more_labels=LABELS)),
        (StandInRule(more_labels=LABELS), StandInRule()),
        (StandInRule(more_labels=LABELS), StandInRule(more_labels={"team": "other"})),
        (StandInRule(), StandInRule(severity=Severity.CRITICAL)),
    ],
    ids=["added", "removed", "changed", "severity"],
)
def test_an_alert_whose_rule_has_other_labels_now_ends_as_that(before: StandInRule, now: StandInRule) -> None:
    fires = after((0, [before]))

    evaluation = evaluate([now], view(poll(seconds=15)), fires.alerts, before="other")

    assert {(t.alert.state, t.alert.reason) for t in evaluation.transitions} == {
        ("resolved", "rule_changed"),
        ("firing", None),
    }


def test_an_alert_that_recovers_as_its_rule_gets_other_labels_has_recovered() -> None:
    fires = after((0, [StandInRule()]))
    now = StandInRule(more_labels=LABELS, true=False)

    evaluation = evaluate([now], view(poll(seconds=15)), fires.alerts, before="other")

    assert [t.alert.reason for t in evaluation.transitions] == ["recovered"]


def test_another_level_that_begins_after_a_reload_changes_no_rule() -> None:
    low, high = StandInRule(), StandInRule(severity=Severity.CRITICAL)
    fires = after((0, [low, replace(high, true=False)]))

    evaluation = evaluate([replace(low, true=False), high], view(poll(seconds=15)), fires.alerts, before="other")

    assert {t.alert.reason for t in evaluation.transitions} == {"recovered", None}


def test_an_alert_that_is_kept_firing_ends_at_once_where_it_goes_on_as_another() -> None:
    rule = StandInRule(keep_firing_for_seconds=600)
    fires = after((0, [rule]))
    now = replace(rule, more_labels=LABELS)

    evaluation = evaluate([now], view(poll(seconds=15)), fires.alerts, before="other")

    assert {t.alert.reason for t in evaluation.transitions} == {"rule_changed", None}
    assert len(evaluation.alerts) == 1


@pytest.mark.parametrize(("before", "reason"), [("other", "rule_changed"), ("unknown", "recovered")])
def test_a_template_that_says_something_else_changes_a_rule_that_was_loaded_again(before, reason) -> None:
    def made(text: str) -> StandInRule:
        return StandInRule(result=lambda _view, _alerts: [StandInRule().sample(team=text)])

    fires = after((0, [made("one")]))

    evaluation = evaluate([made("two")], view(poll(seconds=15)), fires.alerts, before=before)

    assert {t.alert.reason for t in evaluation.transitions} == {reason, None}


def test_labels_that_change_under_the_same_rule_are_no_change_of_the_rule() -> None:
    def made(**labels: str) -> StandInRule:
        return StandInRule(result=lambda _view, _alerts: [StandInRule().sample(**labels)])

    fires = after((0, [made(psp_category="F")]))

    evaluation = evaluate([made()], view(poll(seconds=15)), fires.alerts)

    assert {t.alert.reason for t in evaluation.transitions} == {"recovered", None}


@pytest.mark.parametrize(("seen", "reason"), [(view(poll(seconds=15)), "recovered"), (view(failed(15)), "no_data")])
def test_an_alert_about_the_participant_says_why_too(seen, reason) -> None:
    rule = StandInRule("Down", per_policy=False, true=False)

    evaluation = evaluate([rule], seen, by_fingerprint([alert("Down", policy=None)]))

    assert [t.alert.reason for t in evaluation.transitions] == [reason]


def test_a_transition_tells_the_bucket_of_its_poll() -> None:
    evaluation = evaluate([StandInRule()], view(poll(bucket(4_000), seconds=15)), {})

    (transition,) = evaluation.transitions
    assert transition.observation.bucket.available_tokens == 4_000
    assert (transition.category, transition.observed_at, transition.at) == ("A", at(15), at(15))


def test_removing_a_participant_resolves_what_fires() -> None:
    alerts = by_fingerprint([alert(), alert("Other", state=AlertState.PENDING)])

    (transition,) = remove_participant(alerts, at(60))

    assert (transition.alert.name, transition.alert.reason) == ("TokensLow", Reason.PARTICIPANT_REMOVED)
    assert (transition.at, transition.alert.resolved_at) == (at(60), at(60))


@given(
    truths=st.lists(st.booleans(), min_size=1, max_size=40),
    for_polls=st.integers(0, 4),
    keep_polls=st.integers(0, 4),
    restart=st.integers(0, 40),
)
def test_firing_and_resolved_alternate_and_open_alerts_are_never_two(truths, for_polls, keep_polls, restart) -> None:
    given = {"for_seconds": 15 * for_polls, "keep_firing_for_seconds": 15 * keep_polls}
    states: list[AlertState] = []
    alerts = {}
    for n, true in enumerate(truths):
        evaluation = evaluate([StandInRule(true=true, **given)], view(poll(seconds=15 * n)), alerts)
        alerts = dict(evaluation.alerts) if n == restart else evaluation.alerts
        states += [t.alert.state for t in evaluation.transitions]
        assert len(alerts) <= 1

    assert states == [AlertState.FIRING, AlertState.RESOLVED] * (len(states) // 2) + [AlertState.FIRING] * (
        len(states) % 2
    )


def test_a_pending_alert_that_a_wrong_clock_began_begins_anew() -> None:
    ahead = alert(state=AlertState.PENDING, seconds=45 * 86_400)

    begun = after((0, [StandInRule(for_seconds=60)]), open_alerts=[ahead])
    fires = after((0, [StandInRule(for_seconds=60)]), (60, [StandInRule(for_seconds=60)]), open_alerts=[ahead])

    assert [a.active_since for a in begun.alerts.values()] == [at(0)]
    assert [a.firing_since for a in fires.alerts.values()] == [at(60)]


def test_an_alert_that_a_wrong_clock_began_ends_no_earlier_than_it_began() -> None:
    ahead = alert(seconds=45 * 86_400)

    (transition,) = after((0, [StandInRule(true=False)]), open_alerts=[ahead]).transitions

    assert transition.alert.resolved_at == ahead.firing_since
    assert transition.at == at(0)


def test_what_is_kept_firing_since_a_time_ahead_is_kept_from_now_on() -> None:
    rule = StandInRule(true=False, keep_firing_for_seconds=60)
    ahead = alert(keep_firing_since=at(45 * 86_400))

    kept = after((0, [rule]), open_alerts=[ahead])
    ended = after((0, [rule]), (60, [rule]), open_alerts=[ahead])

    assert [a.keep_firing_since for a in kept.alerts.values()] == [at(0)]
    assert not ended.alerts


@pytest.mark.parametrize("state", [AlertState.PENDING, AlertState.FIRING])
def test_an_alert_is_kept_while_an_exporter_that_has_just_started_has_no_data_for_it(state) -> None:
    open_alert = alert(state=state, seconds=0)
    rule = StandInRule(true=False, data=False, keep_firing_for_seconds=60)

    def evaluated(seconds: float, began: float | None) -> Evaluation:
        began_at = None if began is None else at(began)
        return evaluate([rule], view(poll(seconds=seconds, stream_began_at=began_at)), by_fingerprint([open_alert]))

    young = evaluated(100, began=90)

    assert young.alerts == by_fingerprint([open_alert])
    assert not young.transitions
    for old in (evaluated(90 + 16 * 60, began=90), evaluated(100, began=None), evaluated(100, began=-1)):
        assert old.alerts != by_fingerprint([open_alert])


def test_an_alert_ends_where_an_exporter_that_has_just_started_sees_that_it_is_over() -> None:
    recovered = evaluate(
        [StandInRule(true=False)], view(poll(seconds=100, stream_began_at=at(90))), by_fingerprint([alert()])
    )

    assert [t.alert.reason for t in recovered.transitions] == [Reason.RECOVERED]

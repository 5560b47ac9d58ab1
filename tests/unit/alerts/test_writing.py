"""What rules record at an evaluation, and what others see of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.alerts.history import History
from exporter.alerts.lifecycle import evaluate, lookback_ms
from exporter.buckets.observation import view_after
from tests.support.builders import bucket, failed, poll, read
from tests.support.rules import rules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from exporter.alerts.alert import Alert, Evaluation, Fingerprint
    from exporter.alerts.rule import Rule
    from exporter.buckets.observation import Poll, View

TOKENS = "dict_rate_limit_available_tokens"
FAILS_ON_TWO = f'label_replace({TOKENS} > 60, "policy", "", "policy", ".*")'


class Evaluations:
    """Takes polls through rules, one after the other."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self.history = History(lookback_ms(rules))
        self.view: View | None = None
        self.alerts: dict[Fingerprint, Alert] = {}

    def take(self, one: Poll) -> Evaluation:
        self.view = view_after(self.view, one)
        self.history.add(self.view)
        evaluation = evaluate(self.rules, self.view, self.alerts, history=self.history)
        self.alerts = dict(evaluation.alerts)
        return evaluation

    def tokens(self, tokens: int, seconds: float) -> Evaluation:
        return self.take(poll(bucket(tokens), seconds=seconds))


def evaluations(folder: Path, *texts: str) -> Evaluations:
    return Evaluations(rules(folder, *texts).rules)


def record(name: str, expr: str, *more: str) -> str:
    return "\n".join((f"record: '{name}'", f"expr: {expr}", *more))


def alert(expr: str, name: str = "A") -> str:
    return f"alert: {name}\nexpr: {expr}\nlabels: {{severity: info}}"


def values(evaluation: Evaluation) -> dict[str, float]:
    return {name: value for (name, _), value in evaluation.recorded.items()}


def test_later_rules_see_what_is_recorded_and_earlier_ones_what_was_before(tmp_path: Path) -> None:
    made = evaluations(tmp_path, record("before", "a:b"), record("a:b", TOKENS), record("after", "a:b"))

    assert values(made.tokens(70, 0)) == {"a:b": 70.0, "after": 70.0}
    assert values(made.tokens(50, 15)) == {"before": 70.0, "a:b": 50.0, "after": 50.0}


def test_what_is_recorded_carries_the_labels_of_its_rule(tmp_path: Path) -> None:
    labels = 'labels: {policy: "", zone: "{{ $value }}", team: pix}'
    made = evaluations(tmp_path, record("a:b", f"max by (participant, policy) ({TOKENS})", labels))

    ((_, pairs),) = made.tokens(70, 0).recorded
    assert dict(pairs) == {"participant": "12345678", "zone": "{{ $value }}", "team": "pix"}


def test_what_is_not_recorded_again_is_no_longer_seen(tmp_path: Path) -> None:
    made = evaluations(tmp_path, record("a:b", f"{TOKENS} > 60"), alert("a:b"))

    assert [len(made.tokens(tokens, 15 * n).alerts) for n, tokens in enumerate((70, 50, 70))] == [1, 0, 1]


def test_what_was_recorded_is_seen_for_five_minutes(tmp_path: Path) -> None:
    made = evaluations(tmp_path, record("a:b", FAILS_ON_TWO), alert("a:b"))
    one, two = (bucket(70, policy="A"),), (bucket(70, policy="A"), bucket(70, policy="B"))

    seen = [made.take(poll(*buckets, seconds=s)).alerts for s, buckets in ((0, one), (299.999, two), (300, two))]
    assert [len(alerts) for alerts in seen] == [1, 1, 0]


def test_a_rule_that_fails_records_nothing_and_ends_nothing(tmp_path: Path) -> None:
    made = evaluations(tmp_path, record("a:b", FAILS_ON_TWO), record("c:d", "a:b"))

    assert values(made.take(poll(bucket(80, policy="A"), seconds=0))) == {"a:b": 80.0, "c:d": 80.0}
    failing = made.take(poll(bucket(70, policy="A"), bucket(70, policy="B"), seconds=15))
    assert [failure.name for failure in failing.failures] == ["a:b"]
    assert values(failing) == {"c:d": 80.0}
    assert failing.counts == (0, 1)


def test_labels_that_make_two_series_one_are_a_failure(tmp_path: Path) -> None:
    made = evaluations(tmp_path, record("a:b", TOKENS, "labels: {policy: X}"))

    failing = made.take(poll(bucket(70, policy="A"), bucket(70, policy="B")))
    expected = "vector contains metrics with the same labelset after applying rule labels"
    assert [failure.message for failure in failing.failures] == [expected]


def test_two_values_of_one_series_are_a_failure_of_the_later_rule(tmp_path: Path) -> None:
    both = TOKENS, f"{TOKENS} > 60 or {TOKENS} * 2"
    made = evaluations(tmp_path, *(record("a:b", expr) for expr in both))

    assert not made.tokens(70, 0).failures
    failing = made.tokens(50, 15)
    assert [failure.message.partition(":")[0] for failure in failing.failures] == ["duplicate sample for timestamp"]
    assert values(failing) == {"a:b": 50.0}


def test_a_rule_that_goes_on_with_a_series_that_another_ended_fails_once(tmp_path: Path) -> None:
    made = evaluations(tmp_path, record("a:b", f"{TOKENS} > 60"), record("a:b", f"{TOKENS} <= 60"), alert("a:b"))

    results = [made.tokens(tokens, 15 * n) for n, tokens in enumerate((70, 50, 50))]
    assert [bool(result.failures) for result in results] == [False, True, False]
    assert [values(result) for result in results] == [{"a:b": 70.0}, {}, {"a:b": 50.0}]
    assert [len(result.alerts) for result in results] == [1, 0, 1]


def test_more_series_than_the_limit_are_a_failure(tmp_path: Path) -> None:
    (rule,) = rules(tmp_path, record("a:b", TOKENS)).rules
    made = Evaluations([replace(rule, limit=1)])

    assert not made.take(poll(bucket(70, policy="A"))).failures
    failing = made.take(poll(bucket(70, policy="A"), bucket(70, policy="B"), seconds=15))
    assert [failure.message for failure in failing.failures] == ["exceeded limit of 1 with 2 series"]
    assert not failing.recorded


def test_what_is_recorded_is_looked_back_at(tmp_path: Path) -> None:
    made = evaluations(
        tmp_path, record("a:b", TOKENS), record("c:d", "max_over_time(a:b[1m]) - min_over_time(a:b[1m])")
    )

    results = [values(made.tokens(tokens, 15 * n))["c:d"] for n, tokens in enumerate((70, 50, 60, 60, 60, 60))]
    assert results == [0.0, 20.0, 20.0, 20.0, 10.0, 0.0]


def test_a_failed_poll_records_what_is_still_shown(tmp_path: Path) -> None:
    made = evaluations(tmp_path, record("a:b", f"{TOKENS} and on (participant) dict_rate_limit_up == 0"))

    assert not made.tokens(70, 0).recorded
    assert values(made.take(failed(seconds=15))) == {"a:b": 70.0}


def test_a_read_that_shows_nothing_new_records_what_later_polls_do_not_see(tmp_path: Path) -> None:
    made = evaluations(
        tmp_path, record("a:b", "timestamp(dict_rate_limit_up)"), record("c:d", "count_over_time(a:b[5m])")
    )

    made.tokens(70, 0)
    unchanged = made.take(read(bucket(70), seconds=5, sequence=2))
    changed = made.take(read(bucket(69), seconds=10, sequence=3))
    assert values(unchanged)["c:d"] == 1.0
    assert values(changed)["c:d"] == 2.0
    assert values(unchanged)["a:b"] > 0.0


def test_of_one_millisecond_what_is_evaluated_last_is_recorded(tmp_path: Path) -> None:
    made = evaluations(tmp_path, record("a:b", TOKENS), record("c:d", "a:b"))

    made.tokens(70, 0)
    evaluation = made.take(read(bucket(50), seconds=0.0003, sequence=2))
    assert not evaluation.failures
    assert values(evaluation) == {"a:b": 50.0, "c:d": 50.0}


def test_rules_that_record_one_series_at_different_times_do_not_disturb_each_other(tmp_path: Path) -> None:
    earlier, later = rules(tmp_path, record("a:b", f"{TOKENS} * 2"), record("a:b", TOKENS)).rules
    earlier = replace(earlier, query_offset_ms=5_000, lookback_ms={TOKENS: 305_000})
    made = Evaluations([earlier, later])

    assert not made.tokens(70, 0).failures
    assert values(made.tokens(70, 15)) == {"a:b": 140.0}

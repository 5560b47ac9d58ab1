"""Selectors that have never selected a series are told of, each alone."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from exporter.metrics import Metrics
from exporter.reconciler.unmatched_selectors import MOST_VIEWS, UnmatchedSelectors
from tests.support.builders import bucket, poll, view
from tests.support.rules import alert_rule
from tests.support.rules import rules as rule_set

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.rules.rule import AnyCompiledRule

OF_SHARE = "dict_rate_limit_error_404_rate"
OF_POLICY = 'dict_rate_limit_available_tokens{policy=~"CLAIMS_.*", policy!="X"}'


class Watched:
    """Selectors of rules, and what the metric says of them."""

    def __init__(self, folder: Path, *texts: str) -> None:
        self.metrics = Metrics()
        self.selectors = UnmatchedSelectors(self.metrics.rules)
        self._folder = folder
        self.load(*texts)

    def load(self, *texts: str) -> None:
        self.rules: tuple[AnyCompiledRule, ...] = rule_set(self._folder, *texts).rules
        self.selectors.load(self.rules)

    def shown(self, value: float = 1) -> set[tuple[str, str]]:
        """Rules and selectors of which the metric has this value."""
        samples = [one for family in self.metrics.registry.collect() for one in family.samples if one.value == value]
        labels = [one.labels for one in samples if one.name == "dict_rate_limit_rule_never_had_series"]
        return {(of["rule"], of["selector"]) for of in labels}


def view_of(*policies: str, participant: str = "12345678") -> object:
    return view(poll(*(bucket(policy=policy) for policy in policies), participant=participant))


def test_a_selector_is_unmatched_until_it_selects_a_series(tmp_path: Path) -> None:
    watched = Watched(tmp_path, alert_rule(f"{OF_POLICY} < 1"))

    for policy in ("KEYS_CHECK", "X"):
        watched.selectors.note([view_of(policy)])
        assert watched.shown() == {("A", OF_POLICY)}
        assert watched.selectors.of(watched.rules[0]) == (OF_POLICY,)

    for policy in ("CLAIMS_READ", "KEYS_CHECK"):
        watched.selectors.note([view_of(policy)])
        assert watched.shown() == set()
        assert watched.shown(0) == {("A", OF_POLICY)}
        assert watched.selectors.of(watched.rules[0]) == ()


def test_each_selector_is_told_of_alone_and_each_rule_of_its_own(tmp_path: Path) -> None:
    record = f"record: 'a:b'\nexpr: {OF_SHARE}"
    expr = f"{OF_SHARE} > 0.5 or last_over_time(dict_rate_limit_capacity[5m]) - dict_rate_limit_up or a:b or ALERTS"
    watched = Watched(tmp_path, record, alert_rule(expr), alert_rule("dict_rate_limit_up == 0", name="B"))

    watched.selectors.note([view()])

    assert watched.shown() == {("A", OF_SHARE), ("a:b", OF_SHARE)}
    assert watched.shown(0) == {
        ("A", "dict_rate_limit_capacity"), ("A", "dict_rate_limit_up"), ("B", "dict_rate_limit_up")
    }  # fmt: skip
    assert [watched.selectors.of(rule) for rule in watched.rules] == [(OF_SHARE,), (OF_SHARE,), ()]


def test_two_rules_of_one_name_have_selectors_of_their_own(tmp_path: Path) -> None:
    other = alert_rule("dict_rate_limit_up == 0").replace("info", "critical")
    watched = Watched(tmp_path, alert_rule(f"{OF_SHARE} > 1"), other)

    watched.selectors.note([view()])

    assert [watched.selectors.of(rule) for rule in watched.rules] == [(OF_SHARE,), ()]


def test_a_reload_keeps_what_was_matched_and_forgets_what_is_gone(tmp_path: Path) -> None:
    watched = Watched(tmp_path, alert_rule("dict_rate_limit_up == 0 or dict_rate_limit_capacity < 1"))
    watched.selectors.note([view()])

    watched.load(alert_rule(f"dict_rate_limit_up == 0 or {OF_SHARE} > 1", name="B"))
    assert watched.shown() == {("B", OF_SHARE)}
    assert watched.shown(0) == {("B", "dict_rate_limit_up")}

    watched.load(alert_rule("dict_rate_limit_capacity < 1", name="C"))
    assert watched.shown() == {("C", "dict_rate_limit_capacity")}


def test_participants_take_turns_whatever_batches_they_come_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(tmp_path, alert_rule(f"{OF_SHARE} > 1"))
    (selector,) = watched.rules[0].series_selectors()
    turns: Counter[str] = Counter()
    monkeypatch.setattr(type(selector), "has_series", lambda _, one: turns.update([one.participant]))
    views = [view_of("A", participant=f"{number:08}") for number in range(2 * MOST_VIEWS + 5)]

    for _ in range(9):
        watched.selectors.note(views)
        watched.selectors.note(views[:1])

    assert min(turns.values()) >= 3
    assert len(turns) == len(views)


def test_of_many_selectors_some_are_looked_for_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(tmp_path, *(alert_rule(f'dict_rate_limit_capacity{{policy="X{n}"}} < 1') for n in range(500)))
    selector, *_ = watched.rules[0].series_selectors()
    turns: list[str] = []
    monkeypatch.setattr(type(selector), "has_series", lambda one, _: turns.append(one.text))

    watched.selectors.note([view_of("A", participant=f"{number:08}") for number in range(10)])
    assert len(turns) <= 200

    for _ in range(100):
        watched.selectors.note([view_of("A")])
    assert len(set(turns)) == 500

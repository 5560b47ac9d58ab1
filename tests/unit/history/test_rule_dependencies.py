from __future__ import annotations

import pytest

from exporter.history.rule_dependencies import needed_by
from tests.support.rules import rules


def alert(name: str, expr: str = "dict_rate_limit_up == 0") -> str:
    return f"alert: {name}\nexpr: {expr}\nlabels: {{severity: warning}}"


def seeing(name: str, *seen: str) -> str:
    matched = "|".join(seen)
    return alert(name, f'dict_rate_limit_up == 0 and on (participant) ALERTS{{alertname=~"{matched}"}}')


def names(share) -> list[str]:
    return [r.name for r in share]


@pytest.mark.parametrize(
    ("wanted", "needed"), [("A", ["A"]), ("C", ["A", "C"]), ("D", ["A", "C", "D"]), ("E", ["D", "E", "A", "C"])]
)
def test_what_a_rule_needs_is_all_that_it_sees(tmp_path, wanted, needed):
    made = rules(tmp_path, alert("A"), alert("B"), seeing("C", "A"), seeing("D", "C"), seeing("E", "D")).rules

    found = needed_by([r for r in made if r.name == wanted], made)

    assert names(found) == sorted(needed)

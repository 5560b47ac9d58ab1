from __future__ import annotations

import pytest

from exporter.history.rule_dependencies import with_dependencies
from tests.support.rules import rules


def alert(name: str, expr: str = "dict_rate_limit_up == 0") -> str:
    return f"alert: {name}\nexpr: {expr}\nlabels: {{severity: warning}}"


def seeing(name: str, *seen: str) -> str:
    matched = "|".join(seen)
    return alert(name, f'dict_rate_limit_up == 0 and on (participant) ALERTS{{alertname=~"{matched}"}}')


def names(share) -> list[str]:
    return [r.name for r in share]


@pytest.mark.parametrize(
    ("name", "needed"), [("A", ["A"]), ("C", ["A", "C"]), ("D", ["A", "C", "D"]), ("E", ["D", "E", "A", "C"])]
)
def test_what_a_rule_needs_is_all_that_it_sees(tmp_path, name, needed):
    compiled = rules(tmp_path, alert("A"), alert("B"), seeing("C", "A"), seeing("D", "C"), seeing("E", "D")).rules

    selected = with_dependencies([r for r in compiled if r.name == name], compiled)

    assert names(selected) == sorted(needed)

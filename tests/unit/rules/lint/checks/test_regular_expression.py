"""Regular expressions in matchers that have anchors, or match anything, are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path


def found(folder: Path, matcher: str) -> list[str]:
    return warned(folder, "lint/regular_expression", alert_rule(f"dict_rate_limit_capacity{{policy{matcher}}} == 0"))


@pytest.mark.parametrize("pattern", ["^KEYS_CHECK", "KEYS_CHECK$", "^(KEYS|CLAIMS)_.*$", r"CLAIMS_READ\\\\$"])
def test_anchors_are_told(tmp_path: Path, pattern: str) -> None:
    assert found(tmp_path, f'=~"{pattern}"') == [
        f'`policy=~"{pattern}"` has anchors: a regular expression always is about the whole value'
    ]


@pytest.mark.parametrize("pattern", [".*", "(.*)", "^.*$", ".*|KEYS_CHECK", ".{0,}", "(?s:.*)"])
def test_one_that_matches_anything_is_told(tmp_path: Path, pattern: str) -> None:
    why = "the regular expression matches any value, also none"

    assert found(tmp_path, f'=~"{pattern}"') == [f'`policy=~"{pattern}"` is always true, and can be left out: {why}']
    assert found(tmp_path, f'!~"{pattern}"') == [f'`policy!~"{pattern}"` is never true: {why}']


@pytest.mark.parametrize(
    "pattern", [".+", "KEYS_CHECK", "CLAIMS_.*", r"CLAIMS\\$", "[$]|[^A]*READ", "|KEYS_.*", "([^0].*)?", "(?:[^K].*)?"]
)
def test_others_are_not(tmp_path: Path, pattern: str) -> None:
    assert found(tmp_path, f'=~"{pattern}"') == []


def test_what_is_no_regular_expression_may_have_such_signs(tmp_path: Path) -> None:
    assert found(tmp_path, '="^.*$"') == []

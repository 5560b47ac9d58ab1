"""A matcher on a value that its label never has is told, with the one that was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.rules.files.loading import attempt
from exporter.rules.lint.known_values import ANY_INSTALLATION, Installation
from exporter.rules.lint.linter import warnings
from tests.support.rules import alert_rule, rule_file, warned

if TYPE_CHECKING:
    from pathlib import Path


TOKENS = "dict_rate_limit_available_tokens"
INFO = "dict_rate_limit_participant_info"
NO_POLICY = "is no policy that BACEN publishes"
NO_ISPB = "is no ISPB, which has eight digits"


def found(folder: Path, selector: str, installation: Installation = ANY_INSTALLATION, *more: str) -> list[str]:
    rules = [alert_rule(f"{selector} == 0"), *more]
    return warned(folder, "lint/unknown_value", *rules, installation=installation)


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        (
            f'{TOKENS}{{policy="KEY_CHECK"}}',
            f'`policy="KEY_CHECK"` selects nothing: "KEY_CHECK" {NO_POLICY}; did you mean KEYS_CHECK?',
        ),
        (f'{TOKENS}{{policy!="KEY_CHECK"}}', f'excludes nothing: "KEY_CHECK" {NO_POLICY}; did you mean KEYS_CHECK?'),
        (f'{TOKENS}{{policy=""}}', f"selects nothing: every series of {TOKENS} has a policy"),
        (f'{TOKENS}{{policy=~"KEYS_CHECK|CLAIM_READ"}}', f'"CLAIM_READ" {NO_POLICY}; did you mean CLAIMS_READ?'),
        (f'{TOKENS}{{policy!~"CLAIMS_(READ|REED)"}}', f'"CLAIMS_(REED)" {NO_POLICY}; did you mean CLAIMS_READ?'),
        (f'{TOKENS}{{policy=~"X_.*"}}', '`policy=~"X_.*"` selects nothing: it matches no policy that BACEN publishes'),
        (f'{TOKENS}{{policy!~"X_.*"}}', "excludes nothing: it matches no policy that BACEN publishes"),
        (f'{TOKENS}{{participant="1234567"}}', f'selects nothing: "1234567" {NO_ISPB}'),
        (f'{TOKENS}{{participant=~"12345678|1234"}}', f'`participant=~"12345678|1234"`: "1234" {NO_ISPB}'),
        (f'{INFO}{{psp_category="I"}}', 'selects nothing: "I" is no category; they are A, B, C, D, E, F, G, H'),
        ('rate(dict_rate_limit_responses_total{outcome="404"}[1m])', '"404" is no outcome; they are ok, not_found'),
        ('ALERTS{severity="page"}', 'selects nothing: "page" is no severity; they are info, warning, critical'),
        ('ALERTS{alertstate="inactive"}', '"inactive" is no state of an alert; they are pending, firing'),
        ('ALERTS{policy="KEY_CHECK"}', NO_POLICY),
        (f'{TOKENS}{{policy=~"keys_check"}}', f'"keys_check" {NO_POLICY}; did you mean KEYS_CHECK?'),
        (f'{TOKENS}{{policy=~"KEYS_(CHECK|READ)|CLAIMS_READ"}}', f'"KEYS_(READ)" {NO_POLICY}'),
        (
            'dict_rate_limit_responses_total{outcome=~"4.."}',
            "it matches no outcome; they are ok, not_found, rate_limited",
        ),
    ],
)
def test_a_value_that_cannot_be_is_told(tmp_path: Path, selector: str, message: str) -> None:
    [told] = found(tmp_path, selector)

    assert message in told


@pytest.mark.parametrize(
    "selector",
    [
        f'{TOKENS}{{policy="KEYS_CHECK"}}',
        f'{TOKENS}{{policy=~"CLAIMS_.*|(KEYS|KEYS)_CHECK|[K|]EYS_(CHECK|(?:[C]|X?C)H?ECK)|[A-Z_]+|"}}',
        f'{TOKENS}{{policy=~"(?i)keys_check|claims_write"}}',
        f'{TOKENS}{{policy=~"([A-Z]|_)+"}}',
        f'{TOKENS}{{policy=~"KEYS(_CHECK|_X)?|KEYS_CHECK"}}',
        'ALERTS{policy=~"KEYS_CHECK|"}',
        f'{TOKENS}{{policy!=""}}',
        f'{TOKENS}{{policy=~".+"}}',
        f'{TOKENS}{{participant="12345678"}}',
        f'{TOKENS}{{participant=~"1234.*|[0-9]+"}}',
        'dict_rate_limit_category_changed_timestamp_seconds{previous_psp_category=""}',
        f'{INFO}{{psp_category=~"[AB]"}}',
        'ALERTS{severity=~"info|critical", alertstate="pending"}',
        'ALERTS{psp_category=""}',
        f'{TOKENS}{{polcy="KEY_CHECK"}}',
    ],
)
def test_one_that_can_be_is_not(tmp_path: Path, selector: str) -> None:
    assert found(tmp_path, selector) == []


def test_what_a_rule_writes_may_be_anything(tmp_path: Path) -> None:
    written = "record: 'a:b'\nexpr: dict_rate_limit_up\nlabels: {policy: own}"

    assert found(tmp_path, 'a:b{policy="own"}', ANY_INSTALLATION, written) == []
    assert found(tmp_path, 'ALERTS{policy="own"}', ANY_INSTALLATION, written) == []
    assert found(tmp_path, f'{TOKENS}{{policy="own"}}', ANY_INSTALLATION, written)


def test_a_configuration_has_its_participants(tmp_path: Path) -> None:
    here = Installation(frozenset({"12345678", "87654321"}))

    assert found(tmp_path, f'{TOKENS}{{participant="12345678"}}', here) == []
    assert found(tmp_path, f'{TOKENS}{{participant=~"8.*|12345678"}}', here) == []
    [told] = found(tmp_path, f'{TOKENS}{{participant="11111111"}}', here)
    assert told.endswith('"11111111" is no participant of the configuration; they are 12345678, 87654321')


def test_of_alternatives_within_others_only_the_outermost_are_told(tmp_path: Path) -> None:
    [told] = found(tmp_path, f'{TOKENS}{{policy=~"(X|Y)_Z|KEYS_CHECK"}}')

    assert f'"(X|Y)_Z" {NO_POLICY}' in told


def test_of_many_values_some_are_listed(tmp_path: Path) -> None:
    here = Installation(frozenset(f"{number:08}" for number in range(1_012)))

    [told] = found(tmp_path, f'{TOKENS}{{participant="11111111"}}', here)
    assert told.endswith("00000008, 00000009 and 1,002 more")
    *_, told = found(tmp_path, f'{TOKENS}{{policy=~"A|B|C|D|E|KEYS_CHECK"}}')
    assert told.endswith("2 more of its alternatives match no policy that BACEN publishes")


def test_a_policy_that_is_not_published_may_be_stored(tmp_path: Path) -> None:
    here = Installation(stored_policies=lambda: frozenset({"NEW"}))

    assert found(tmp_path, f'{TOKENS}{{policy=~"NEW|KEYS_CHECK"}}', here) == []
    [told] = found(tmp_path, f'{TOKENS}{{policy="KEY_CHECK"}}', here)
    why = "is no policy that BACEN publishes or the database holds; did you mean KEYS_CHECK?"
    assert told == f'`policy="KEY_CHECK"` selects nothing: "KEY_CHECK" {why}'
    assert found(tmp_path, f'{TOKENS}{{policy="KEY_CHECK"}}', Installation(stored_policies=None)) == []


def test_stored_policies_are_asked_for_once_and_only_where_one_is_not_published(tmp_path: Path) -> None:
    calls: list[int] = []

    def here() -> Installation:
        calls.clear()
        return Installation(stored_policies=lambda: calls.append(1) or None)

    found(tmp_path, f'{TOKENS}{{policy="KEYS_CHECK", participant="1"}}', here(), alert_rule("ALERTS{severity='x'}"))
    assert not calls
    found(tmp_path, f'{TOKENS}{{policy="X"}}', here(), alert_rule(f'{TOKENS}{{policy=~"Y|Z"}}'))
    assert calls == [1]


@pytest.mark.parametrize(
    "pattern",
    ["|".join(f"X{n}" for n in range(4_000)), "(" * 300 + "X" + "|KEYS_CHECK)" * 300, "A|" * 9_000 + "KEYS_CHECK"],
    ids=["wide", "deep", "long"],
)
def test_of_a_huge_regular_expression_little_is_told(tmp_path: Path, pattern: str) -> None:
    assert len(found(tmp_path, f'{TOKENS}{{policy=~"{pattern}"}}')) < 5


def test_the_place_of_the_matcher_is_told(tmp_path: Path) -> None:
    expr = f'{TOKENS}{{participant="12345678",\n        policy="X"}} == 0'
    file = rule_file(tmp_path, f"alert: A\nexpr: |\n  {expr}\nlabels: {{severity: info}}")

    [finding] = [one for one in warnings(attempt([file])) if one.check == "lint/unknown_value"]

    assert (finding.line, finding.column) == (7, 15)

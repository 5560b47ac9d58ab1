"""A matcher on a value that its label never has is told, with the one that was meant."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from exporter.rules.files.loading import attempt
from exporter.rules.lint.context import ANY_INSTALLATION, Installation
from exporter.rules.lint.linter import warnings
from tests.support.rules import alert_rule, rule_file, warned

if TYPE_CHECKING:
    from pathlib import Path


TOKENS = "dict_rate_limit_available_tokens"
INFO = "dict_rate_limit_participant_info"
NO_POLICY = "is no policy that is published"
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
        (f'{TOKENS}{{policy!~"CLAIMS_(READ|REED)"}}', f'"REED" {NO_POLICY}'),
        (f'{TOKENS}{{policy=~"X_.*"}}', '`policy=~"X_.*"` selects nothing: no value matches'),
        (f'{TOKENS}{{policy!~"X_.*"}}', "excludes nothing: no value matches"),
        (f'{TOKENS}{{participant="1234567"}}', f'selects nothing: "1234567" {NO_ISPB}'),
        (f'{TOKENS}{{participant=~"12345678|1234"}}', f'`participant=~"12345678|1234"`: "1234" {NO_ISPB}'),
        (f'{INFO}{{psp_category="I"}}', 'selects nothing: "I" is no category; they are A, B, C, D, E, F, G, H'),
        ('rate(dict_rate_limit_responses_total{outcome="404"}[1m])', '"404" is no outcome; they are ok, not_found'),
        ('ALERTS{severity="page"}', 'selects nothing: "page" is no severity; they are info, warning, critical'),
        ('ALERTS{alertstate="inactive"}', '"inactive" is neither pending nor firing'),
        ('ALERTS{policy="KEY_CHECK"}', NO_POLICY),
    ],
)
def test_a_value_that_cannot_be_is_told(tmp_path: Path, selector: str, message: str) -> None:
    [told] = found(tmp_path, selector)

    assert message in told


@pytest.mark.parametrize(
    "selector",
    [
        f'{TOKENS}{{policy="KEYS_CHECK"}}',
        f'{TOKENS}{{policy=~"CLAIMS_.*|(KEYS|KEYS)_CHECK|[K|]EYS_(CHECK|(?:X|CHECK)?)|[A-Z_]+|"}}',
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


def test_an_installation_has_its_participants_and_the_policies_that_were_seen(tmp_path: Path) -> None:
    here = Installation(frozenset({"12345678", "87654321"}), frozenset({"NEW", "KEYS_CHECK"}), are_seen=True)

    assert found(tmp_path, f'{TOKENS}{{participant="12345678", policy="NEW"}}', here) == []
    of_participant, of_policy = found(tmp_path, f'{TOKENS}{{participant="11111111", policy="OLD"}}', here)
    assert of_participant.endswith('"11111111" is none of the participants configured: 12345678, 87654321')
    assert of_policy.endswith('"OLD" is no policy that is published, nor in the database')
    assert found(tmp_path, f'{TOKENS}{{policy="OLD"}}', replace(here, policies=None)) == []


def test_the_place_of_the_matcher_is_told(tmp_path: Path) -> None:
    expr = f'{TOKENS}{{participant="12345678",\n        policy="X"}} == 0'
    file = rule_file(tmp_path, f"alert: A\nexpr: |\n  {expr}\nlabels: {{severity: info}}")

    [finding] = [one for one in warnings(attempt([file])) if one.check == "lint/unknown_value"]

    assert (finding.line, finding.column) == (7, 15)

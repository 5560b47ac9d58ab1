"""Numbers and absences of one participant, which a matcher names."""

from __future__ import annotations

import pytest

from tests.support.builders import bucket, poll, view
from tests.support.rules import evaluated, refusal, vector

UP, TOKENS = "dict_rate_limit_up", "dict_rate_limit_available_tokens"
OURS, OTHER = 'participant="12345678"', 'participant="87654321"'
OURS_A, OURS_B = (f'{{{OURS}, policy="{policy}"}}' for policy in "AB")
SEEN = view(poll(bucket(5, policy="A"), bucket(7, policy="B")))


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (f"absent({UP}{{{OURS}}})", {}),
        (f'absent({TOKENS}{{{OURS}, policy="C"}})', {'{participant="12345678", policy="C"}': 1}),
        (f'absent({TOKENS}{{{OURS}, policy=~"C|D"}})', {'{participant="12345678"}': 1}),
        (f'absent({TOKENS}{{{OURS}, policy="C", policy="D"}})', {'{participant="12345678"}': 1}),
        (f'absent({TOKENS}{{{OURS}, policy="", job="x"}})', {'{job="x", participant="12345678"}': 1}),
        (f"absent(({UP}{{{OURS}}} offset 5m))", {'{participant="12345678"}': 1}),
        (f"absent_over_time({UP}{{{OURS}}}[5m])", {'{participant="12345678"}': 1}),
        (f"absent({UP}{{{OTHER}}})", {}),  # said at the polls of that participant
        (f'{TOKENS}{{{OURS}}} > scalar({TOKENS}{{{OURS}, policy="A"}})', {f'{TOKENS}{{{OURS}, policy="B"}}': 7}),
        (f"clamp_max({TOKENS}{{{OURS}}}, 6 + scalar({UP}{{{OURS}}}) * -2)", {OURS_A: 4, OURS_B: 4}),
        (f"{UP}{{{OURS}}} + scalar({TOKENS}{{{OURS}}})", {f"{{{OURS}}}": pytest.approx(float("nan"), nan_ok=True)}),
        (f"{UP}{{{OTHER}}} > scalar({UP}{{{OTHER}}}) - 1", {}),
        (f"topk by (participant) (scalar({UP}{{{OTHER}}}), {UP}{{{OTHER}}})", {}),  # NaN at our polls, and no failure
        (f'absent({UP}{{{OURS}, a="b", __type__="gauge"}})', {'{a="b", participant="12345678"}': 1}),
        (f"{UP} + scalar(vector(2))", {f"{{{OURS}}}": 3}),
    ],
)  # fmt: skip
def test_what_is_said_of_one_participant(expr: str, expected: dict[str, float]):
    assert evaluated(expr, SEEN) == expected


def test_when_a_sample_was_made():
    assert evaluated(f"timestamp({UP})", SEEN) == {f"{{{OURS}}}": SEEN.at.timestamp()}
    assert evaluated(f"timestamp({UP} > 0) - time()", SEEN) == {f"{{{OURS}}}": 0}
    [(name, _, _)] = vector(f'timestamp({TOKENS}{{policy="A"}})', SEEN)
    assert name == ""


@pytest.mark.parametrize(
    "expr",
    [
        f"{TOKENS}{{{OURS}}} and on (participant) {UP} > scalar({UP}{{{OURS}}})",
        f"({TOKENS}{{{OURS}}} or {TOKENS}) > scalar({UP}{{{OURS}}})",
        f"({TOKENS} unless {TOKENS}{{{OURS}}}) > scalar({UP}{{{OURS}}})",
        f"max by (participant) ({TOKENS}) > bool scalar({UP}{{{OURS}}})",
        f"{UP}{{{OTHER}}} > scalar({UP}{{{OURS}}})",
    ],
)
def test_a_number_of_one_participant_is_compared_with_series_of_that_one(expr: str):
    assert "on one side only: select participant=" in refusal(expr)


@pytest.mark.parametrize(
    "expr",
    [
        f"({TOKENS}{{{OURS}}} and on (participant) {UP}) > scalar({UP}{{{OURS}}})",
        f"({TOKENS} and on (participant) {UP}{{{OURS}}}) > scalar({UP}{{{OURS}}})",
        f"({TOKENS}{{{OURS}}} unless {TOKENS}) > scalar({UP}{{{OURS}}})",
        f"max by (participant) (max_over_time({TOKENS}{{{OURS}}}[5m])) > scalar({UP}{{{OURS}}})",
        f"-({TOKENS}{{{OURS}}} * on (participant) group_left () {UP}) > scalar({UP}{{{OURS}}})",
    ],
)
def test_series_are_of_one_participant_where_a_matcher_says_so(expr: str):
    assert refusal(expr) == ""

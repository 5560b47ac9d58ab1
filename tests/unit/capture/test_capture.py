from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.capture.capture import Samples
from exporter.rules.promql.series import Labels
from exporter.rules.promtool.input_series import STALE, expand
from tests.support.builders import START

NAME = "dict_rate_limit_capacity"


def sampled(*values: float | None, name: str = NAME) -> Samples:
    samples = Samples(START)
    for value in values:
        samples.add([] if value is None else [(name, Labels(()), value)])
    return samples


def notation_of(*values: float | None, name: str = NAME) -> str:
    (only,) = sampled(*values, name=name).series().values()
    return only


@pytest.mark.parametrize(
    ("values", "notation"),
    [
        ((5,), "5"),
        ((5, 5, 5), "5x2"),
        ((0, 0), "0x1"),
        ((1, 2.5, 2.5, 3), "1 2.5x1 3"),
        ((math.inf, math.inf, -math.inf), "Inf Inf -Inf"),
        ((math.nan, 1), "NaN 1"),
        ((None, None, 1), "_x2 1"),
        ((1, None, None, None, 2), "1 stale _x2 2"),
        ((1, None, 1), "1 stale 1"),
        ((1e-05, 1e300), "1e-05 1e+300"),
    ],
)
def test_values_are_written_in_promtools_notation(values, notation):
    assert notation_of(*values) == notation


def test_timestamps_count_from_where_the_samples_begin():
    at = START.timestamp()

    assert notation_of(at - 90, at, at + 15, name="dict_rate_limit_last_success_timestamp_seconds") == "-90 0 15"


def test_a_series_that_never_came_is_not_there():
    assert not sampled(None, None).series()


@given(st.lists(st.none() | st.floats(allow_nan=False), min_size=1, max_size=30))
def test_the_notation_gives_the_values_back(values):
    if all(value is None for value in values):
        return

    back = [None if value is STALE else value for value in expand(notation_of(*values))]

    assert back == values

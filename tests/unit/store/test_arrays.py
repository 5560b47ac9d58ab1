"""PostgreSQL reads what was meant. Its driver stands for it here, where that is as strict."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.store.arrays import of_booleans, of_numbers, of_texts, of_times
from tests.support.builders import at
from tests.support.literals import read
from tests.support.strategies import INT64_MAX, figures, storable, times


@given(st.lists(st.none() | storable))
def test_texts_are_read_as_they_were(values) -> None:
    assert read(of_texts(values)) == values


@given(st.lists(st.none() | figures))
def test_floats_keep_every_bit(values) -> None:
    assert read(of_numbers(values), "float8") == values


@given(st.lists(st.none() | st.integers(-INT64_MAX - 1, INT64_MAX)))
def test_integers_are_read_as_they_were(values) -> None:
    assert read(of_numbers(values), "int8") == values


@given(st.lists(st.none() | times))
def test_times_are_read_to_the_microsecond(values) -> None:
    assert read(of_times(values), "timestamptz") == values


@given(st.lists(st.booleans()))
def test_booleans_are_read_as_they_were(values) -> None:
    assert read(of_booleans(values), "bool") == values


@pytest.mark.parametrize("array", [of_texts, of_numbers, of_times, of_booleans])
def test_no_values_are_an_empty_array(array) -> None:
    assert array([]) == "{}"


@pytest.mark.parametrize(
    "text", ["", " ", "NULL", "null", "{}", "a,b", 'a"b', "a\\b", '\\"', "\\\\", "\n\t", "ü🪣", "{NULL}"]
)
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    assert read(of_texts([text, None, text])) == [text, None, text]


@pytest.mark.parametrize(
    ("text", "literal"),
    [("a", '{"a"}'), ("", '{""}'), ('a"b', r'{"a\"b"}'), ("a\\b", r'{"a\\b"}'), ('\\"', r'{"\\\""}'), (None, "{NULL}")],
)
def test_quotes_and_backslashes_are_escaped_each_once(text: str | None, literal: str) -> None:
    assert of_texts([text]) == literal


def test_nan_is_not_null() -> None:
    nan, null = read(of_numbers([math.nan, None]), "float8")

    assert math.isnan(nan)
    assert null is None


def test_an_array_within_an_array_is_one_text() -> None:
    policies = ["A", 'B"', "C\\"]

    (inner,) = read(of_texts([of_texts(policies)]))

    assert read(inner) == policies


def test_a_time_is_told_with_its_offset() -> None:
    assert of_times([at(0.5), None]) == "{2026-03-10T12:00:00.500000+00:00,NULL}"

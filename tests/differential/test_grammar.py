"""Our parser and promtool 3 accept the same expressions, and refuse the others at the same character.

``DIFFERENTIAL_CASES`` says how many (200), ``DIFFERENTIAL_SEED`` which.
"""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING

import pytest

from exporter.rules.promql.lexer import ParseError, line_and_column
from exporter.rules.promql.parser import parse
from tests.support.promtool import parse_errors
from tests.support.random_promql import expression

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.prometheus
def test_promtool_refuses_what_we_refuse_at_the_same_character(tmp_path: Path) -> None:
    random = Random(os.environ.get("DIFFERENTIAL_SEED", "1"))
    texts = [expression(random) for _ in range(10 * int(os.environ.get("DIFFERENTIAL_CASES", "200")))]

    theirs = parse_errors(texts, tmp_path)

    ours = {text: fault for text in texts if (fault := _fault(text)) is not None}
    assert {text: fault for text, fault in ours.items() if theirs.get(text) != fault} == {}
    assert theirs.keys() - ours.keys() == set()
    assert len(set(texts)) / 10 < len(ours) < len(set(texts)) * 9 / 10, "one of the two is hardly tried"


@pytest.mark.prometheus
def test_limitk_is_taken_though_prometheus_has_it_behind_a_flag(tmp_path: Path) -> None:
    text = "limitk by (participant) (1, up)"

    assert _fault(text) is None
    assert parse_errors([text], tmp_path) == {text: (1, 1)}
    assert parse_errors([text], tmp_path, "--enable-feature=promql-experimental-functions") == {}


def _fault(text: str) -> tuple[int, int] | None:
    """Returns line and byte of the line, both from 1, of what is wrong; None if nothing is."""
    try:
        parse(text)
    except ParseError as error:
        line, column = line_and_column(text, error.position)
        return line, len(text.split("\n")[line - 1][: column - 1].encode()) + 1
    return None

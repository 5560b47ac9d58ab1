"""Mathematical functions give what Go gives: at the edges of their domains, too, nothing raises."""

from __future__ import annotations

import math

import pytest

from exporter.rules.promql.mathematics import MATHEMATICS

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("sqrt", 9.0, 3.0), ("sqrt", -1.0, NAN), ("sqrt", -0.0, -0.0), ("sqrt", INF, INF),
        ("exp", 0.0, 1.0), ("exp", 1e3, INF), ("exp", -1e3, 0.0), ("exp", -INF, 0.0), ("exp", INF, INF),
        ("ln", math.e, 1.0), ("ln", 0.0, -INF), ("ln", -0.0, -INF), ("ln", -1.0, NAN), ("ln", INF, INF),
        ("log2", 8.0, 3.0), ("log2", 0.0, -INF), ("log2", -1.0, NAN), ("log2", NAN, NAN),
        ("log10", 1000.0, 3.0), ("log10", 0.0, -INF), ("log10", -INF, NAN),
        ("deg", math.pi, 180.0), ("rad", 180.0, math.pi), ("deg", INF, INF), ("rad", -INF, -INF),
        ("sin", math.pi / 2, 1.0), ("cos", math.pi, -1.0), ("tan", math.pi / 4, 1.0),
        ("sin", INF, NAN), ("cos", -INF, NAN), ("tan", INF, NAN), ("sin", NAN, NAN),
        ("asin", 1.0, math.pi / 2), ("asin", 1.1, NAN), ("acos", -1.0, math.pi), ("acos", -1.1, NAN),
        ("atan", INF, math.pi / 2), ("atan", 1.0, math.pi / 4),
        ("sinh", 1.0, 1.1752011936438014), ("sinh", -1e3, -INF), ("sinh", 1e3, INF), ("sinh", -INF, -INF),
        ("cosh", 1.0, 1.5430806348152437), ("cosh", -1e3, INF), ("cosh", -INF, INF),
        ("tanh", 1e3, 1.0), ("tanh", -INF, -1.0),
        ("asinh", 1.1752011936438014, 1.0), ("asinh", -INF, -INF),
        ("acosh", 1.5430806348152437, 1.0), ("acosh", 0.9, NAN), ("acosh", INF, INF),
        ("atanh", 0.5, 0.5493061443340549), ("atanh", 1.0, INF), ("atanh", -1.0, -INF), ("atanh", 1.1, NAN),
    ],
)  # fmt: skip
def test_functions_give_what_go_gives(name: str, value: float, result: float):
    computed = MATHEMATICS[name](value)

    assert computed == pytest.approx(result, rel=1e-15, nan_ok=True)
    assert math.isnan(result) or math.copysign(1.0, computed) == math.copysign(1.0, result)


@pytest.mark.parametrize("name", MATHEMATICS)
def test_of_no_number_there_is_none(name: str):
    assert math.isnan(MATHEMATICS[name](NAN))

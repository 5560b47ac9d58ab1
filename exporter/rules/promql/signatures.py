"""The functions and aggregations of Prometheus 3.16: what they take and give, and which are behind a feature flag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class ValueType(StrEnum):
    """As Prometheus' documentation calls them."""

    SCALAR = "scalar"
    VECTOR = "instant vector"
    RANGE = "range vector"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Signature:
    """``optional`` is how many of the last arguments may be missing, ``most`` how many there may be (None: any)."""

    arguments: tuple[ValueType, ...]
    returns: ValueType = ValueType.VECTOR
    optional: int = 0
    most: int | None = None

    def argument(self, index: int) -> ValueType:
        """Returns the type of an argument; those beyond the list are like its last."""
        return self.arguments[min(index, len(self.arguments) - 1)]


_SCALAR, _VECTOR, _RANGE, _STRING = ValueType


def _signatures(
    names: str, *arguments: ValueType, returns: ValueType = _VECTOR, optional: int = 0, any_number: bool = False
) -> dict[str, Signature]:
    most = None if any_number else len(arguments)
    return dict.fromkeys(names.split(), Signature(arguments, returns, optional, most))


SIGNATURES: Final[Mapping[str, Signature]] = {
    **_signatures("abs ceil exp floor ln log10 log2 sgn sqrt", _VECTOR),
    **_signatures("acos acosh asin asinh atan atanh cos cosh deg rad sin sinh tan tanh", _VECTOR),
    **_signatures("absent sort sort_desc timestamp", _VECTOR),
    **_signatures("days_in_month day_of_month day_of_week day_of_year hour minute month year", _VECTOR, optional=1),
    **_signatures("clamp", _VECTOR, _SCALAR, _SCALAR),
    **_signatures("clamp_max clamp_min", _VECTOR, _SCALAR),
    **_signatures("round", _VECTOR, _SCALAR, optional=1),
    **_signatures("label_replace", _VECTOR, _STRING, _STRING, _STRING, _STRING),
    **_signatures("label_join", _VECTOR, _STRING, _STRING, _STRING, optional=1, any_number=True),
    **_signatures("scalar", _VECTOR, returns=_SCALAR),
    **_signatures("vector", _SCALAR),
    **_signatures("pi time", returns=_SCALAR),
    **_signatures("absent_over_time avg_over_time count_over_time first_over_time last_over_time", _RANGE),
    **_signatures("max_over_time min_over_time present_over_time stddev_over_time stdvar_over_time", _RANGE),
    **_signatures("sum_over_time changes delta deriv idelta increase irate rate resets", _RANGE),
    **_signatures("predict_linear", _RANGE, _SCALAR),
    **_signatures("quantile_over_time", _SCALAR, _RANGE),
    **_signatures("histogram_avg histogram_count histogram_stddev histogram_stdvar histogram_sum", _VECTOR),
    **_signatures("histogram_fraction", _SCALAR, _SCALAR, _VECTOR),
    **_signatures("histogram_quantile", _SCALAR, _VECTOR),
}
"""Those that need no feature flag."""

BEHIND_A_FLAG: Final = frozenset(
    [
        "double_exponential_smoothing",
        "end",
        "histogram_quantiles",
        "info",
        "integral",
        "mad_over_time",
        "max_of",
        "min_of",
        "range",
        "sort_by_label",
        "sort_by_label_desc",
        "start",
        "start_timestamp",
        "step",
        "ts_of_first_over_time",
        "ts_of_last_over_time",
        "ts_of_max_over_time",
        "ts_of_min_over_time",
        "limit_ratio",
    ]
)
"""Functions, and an aggregation, that Prometheus has only with ``--enable-feature``, and rules do not."""

AGGREGATIONS: Final[Mapping[str, ValueType | None]] = {
    **dict.fromkeys(["sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"]),
    **dict.fromkeys(["topk", "bottomk", "quantile", "limitk", "limit_ratio"], _SCALAR),
    "count_values": _STRING,
}
"""By name, with the type of the parameter that comes first; None: there is none."""

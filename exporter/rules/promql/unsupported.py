"""Why rules cannot use a metric or a function, and what to use instead."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from exporter.buckets.gauges import METRIC_NAMES
from exporter.rules.promql.calls import ABSENT, CALLS
from exporter.rules.promql.sources import ALERTS
from exporter.structures import did_you_mean, nearest

OWN: Final = "dict_rate_limit_"

_FUNCTIONS: Final = ", ".join(sorted({*CALLS, *ABSENT}))
_NOT_SEEN: Final = "no metric of a bucket or a participant, and rules see no others"
_INSTEAD: Final = (
    ("histogram_.*", "() is not supported: rules see no histograms"),
    (".*", f"() is not supported; functions are {_FUNCTIONS}"),
)
"""Names, why they are refused, and what to use instead."""


def of_function(name: str) -> str:
    """Returns why a function is refused."""
    return name + next(why for names, why in _INSTEAD if re.fullmatch(names, name))


def of_metric(name: str, recorded: Iterable[str] = ()) -> str:
    """Returns why a metric cannot be selected; ``recorded`` are the names of series that rules record."""
    stems = {metric.removeprefix(OWN): metric for metric in METRIC_NAMES}
    metrics = f"{OWN}... {', '.join(sorted(stems))}"
    meant = nearest(name.removeprefix(OWN), stems)
    if ":" in name:
        return f"is not a metric of this program, and no rule here records it{did_you_mean(name, list(recorded))}"
    if not name.startswith(OWN):
        meant = stems[meant] if meant else nearest(name, recorded)
        hint = f"did you mean {meant}?" if meant else "Prometheus can have rules of its own"
        return f"is not a metric of this program, and no rule here records it; {hint}"
    if re.fullmatch(r"\w+_alerts_\w+_total", name):
        return f'is a counter of the process, which rules do not see; {ALERTS}{{alertname="..."}} is what fires'
    for ending, kind in (("_total", "a counter of the process"), ("_(?:bucket|sum|count)", "a part of a histogram")):
        if re.search(f"{ending}$", name) and not meant:
            return f"is {kind}, and rules see these: {metrics}"
    return f"is not a metric that rules see; did you mean {stems[meant]}?" if meant else f"is {_NOT_SEEN}: {metrics}"

"""Rules, beside Prometheus' own engine (3.16) evaluating the same expressions over the same 31,000 buckets.

Both have all samples in memory, and one core. Prometheus' engine is built where Go is there; without it only our side
is measured. Each side's best of three; what both find must be the same.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.figure import Figure
from exporter.alerts.history import History
from exporter.alerts.lifecycle import lookback_ms
from exporter.buckets.bucket import Bucket, Ispb
from exporter.buckets.catalog import POLICIES
from exporter.buckets.observation import BucketObservation, Observation, Poll, View, view_after
from exporter.rules.files.loading import load
from exporter.rules.promql.sources import source_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exporter.rules.rule import AnyCompiledRule

PARTICIPANTS = int(os.environ.get("BENCH_PARTICIPANTS", "1000"))
POLLS = 245
"""Every 15 s: a little more than the longest range."""

INTERVAL_SECONDS = 15
BEGIN = datetime(2026, 3, 10, 12, tzinfo=UTC)
CAPACITY = 36_000
FACTORS = (7_919, 104_729, 31)
"""The tokens of a bucket are a remainder of participant, policy and poll times these: all levels come about."""

REPEAT = 3
ENGINE = Path(__file__).with_name("prometheus_engine")

_USED = "dict_rate_limit_utilization_percent"
_TOKENS = "dict_rate_limit_available_tokens"
_UP = "on (participant) dict_rate_limit_up == 1"

INSTANT = (
    f"max by (participant, policy) ({_USED}) >= 80",
    f"{_USED} > 80 and {_UP}",
    f"min by (participant, policy) ({_TOKENS} / dict_rate_limit_capacity <= 0.2 and {_UP})",
    f"sum by (participant) ({_TOKENS}) < 400000",
    f"topk by (participant) (3, {_USED}) > 99",
)
RANGES = tuple(
    expression
    for length in ("5m", "1h")
    for expression in (
        f"avg_over_time({_USED}[{length}]) > 80",
        f"max_over_time({_USED}[{length}]) > 99.9",
        f"min_over_time({_USED}[{length}]) > 20",
        f"changes({_TOKENS}[{length}]) > 3",
        f"increase({_TOKENS}[{length}]) > 1000",
        f"delta({_TOKENS}[{length}]) < 0",
        f"resets({_TOKENS}[{length}]) > 0",
        f"quantile_over_time(0.9, {_USED}[{length}]) > 95",
        f"stddev_over_time({_USED}[{length}]) > 30",
        f"predict_linear({_TOKENS}[{length}], 600) < 0",
    )
)


class Result(NamedTuple):
    """What an evaluation found, and how long it took."""

    series: int
    sum: float
    seconds: float


def run() -> Iterator[Figure]:
    expressions = (*INSTANT, *RANGES)
    ours = _ours(expressions)
    theirs = _theirs(expressions)
    yield Figure("buckets", PARTICIPANTS * len(POLICIES), "")
    for index, expression in enumerate(expressions):
        name = expression.replace("dict_rate_limit_", "")
        if theirs is None:
            yield Figure(name, ours[index].seconds * 1e3, "ms")
            continue
        found = theirs[index]
        assert found.series == ours[index].series, expression
        assert abs(found.sum - ours[index].sum) <= 1e-9 * abs(found.sum), expression
        aim = 3.0 if expression in INSTANT else 1.0
        ratio = found.seconds / ours[index].seconds
        yield Figure(name, ratio, "x", f">= {aim:g}", ratio >= aim)


def _ours(expressions: Sequence[str]) -> list[Result]:
    rules = _rules(expressions)
    kept = lookback_ms(rules)
    gc.disable()  # for as long as so many objects are made; they stay
    try:
        sides = [_shown(number, History(kept)) for number in range(PARTICIPANTS)]
        gc.freeze()
    finally:
        gc.enable()
    return [min((_evaluated(rule, sides) for _ in range(REPEAT)), key=lambda result: result.seconds) for rule in rules]


def _rules(expressions: Sequence[str]) -> Sequence[AnyCompiledRule]:
    rules = [{"alert": f"Rule{n}", "expr": expr, "labels": {"severity": "info"}} for n, expr in enumerate(expressions)]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        json.dump({"groups": [{"name": "g", "rules": rules}]}, file)  # which is YAML, too
        file.flush()
        return load([file.name]).rules


def _shown(number: int, history: History) -> tuple[View, History]:
    """Returns what is shown of a participant after all polls, and what was before."""
    view: View | None = None
    for index in range(POLLS):
        view = view_after(view, _poll(number, index))
        history.add(view)
    assert view is not None
    return view, history


def _poll(number: int, index: int) -> Poll:
    participant, at = Ispb(_participant(number)), BEGIN + timedelta(seconds=INTERVAL_SECONDS * index)
    buckets = []
    for position, policy in enumerate(sorted(POLICIES)):
        tokens = (FACTORS[0] * number + FACTORS[1] * position + FACTORS[2] * index) % (CAPACITY + 1)
        buckets.append(BucketObservation(Bucket(policy, tokens, CAPACITY, 1_200, 60)))
    observation = Observation(participant, at, "A", "c", tuple(buckets))
    return Poll("stream", index + 1, participant, at, INTERVAL_SECONDS, 300.0, observation, 0.0, at)


def _participant(number: int) -> str:
    return f"{10_000_000 + number}"


def _evaluated(rule: AnyCompiledRule, sides: Sequence[tuple[View, History]]) -> Result:
    series, total = 0, 0.0
    began = time.perf_counter()
    for view, history in sides:
        for _, _, value in rule.expression.vector.run(rule.moment(source_of(view, history), ())):
            series += 1
            total += value
    return Result(series, total, time.perf_counter() - began)


def _theirs(expressions: Sequence[str]) -> list[Result] | None:
    """Returns None where there is no Go."""
    if shutil.which("go") is None:
        return None
    description: dict[str, Any] = {
        "participants": [_participant(number) for number in range(PARTICIPANTS)],
        "policies": sorted(POLICIES),
        "polls": POLLS,
        "interval_ms": INTERVAL_SECONDS * 1000,
        "begin_ms": int(BEGIN.timestamp() * 1000),
        "capacity": CAPACITY,
        "factors": FACTORS,
        "expressions": expressions,
        "repeat": REPEAT,
    }
    with tempfile.TemporaryDirectory(prefix="dict-rate-limit-bench-") as folder:
        binary = Path(folder) / "engine"
        build = ["go", "build", "-mod=readonly", "-o", str(binary), "."]
        subprocess.run(build, cwd=ENGINE, env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}, check=True)
        done = subprocess.run([binary], input=json.dumps(description), stdout=subprocess.PIPE, text=True, check=True)
    return [Result(**result) for result in json.loads(done.stdout)]

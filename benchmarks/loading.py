"""Many rules: `rules check` in proportion to them, and what the event loop waits for a reload."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.figure import Figure
from exporter.config.settings import RulesSettings
from exporter.metrics import Metrics
from exporter.reconciler.rules_in_force import RulesInForce
from exporter.rules.files.loading import attempt
from exporter.rules.lint import linter

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES = 2_000
EXPRESSION = "max by (participant, policy) (dict_rate_limit_utilization_percent) >= {number}"


def run() -> Iterator[Figure]:
    with TemporaryDirectory(prefix="dict-rate-limit-bench-") as folder:
        few, many = (_written(Path(folder) / f"{rules}.yml", rules) for rules in (RULES, 2 * RULES))
        seconds = _check_seconds(few)
        ratio = _check_seconds(many) / seconds
        yield Figure(f"rules check, {RULES:,} rules", seconds * 1e3, "ms")
        yield Figure("rules check, twice the rules: times the time", ratio, "x", "< 2.5x", met=ratio < 2.5)
        logging.getLogger("exporter").setLevel(logging.CRITICAL)
        in_force = _in_force(Path(folder) / "rules.yml", 1)
        _written(Path(folder) / "rules.yml", 2 * RULES)
        load, wait = asyncio.run(_reload(in_force))
        yield Figure(f"reload, {2 * RULES:,} rules", load * 1e3, "ms")
        yield Figure("the event loop's longest wait meanwhile", wait * 1e3, "ms", "< 200 ms", met=wait < 0.2)


def _written(file: Path, rules: int) -> Path:
    written = (
        f"  - {{alert: A{number}, expr: '{EXPRESSION.format(number=number / 100)}', labels: {{severity: info}}}}\n"
        for number in range(rules)
    )
    file.write_text("groups:\n- name: g\n  rules:\n" + "".join(written))
    return file


def _check_seconds(file: Path) -> float:
    """Returns the least time that it took: what it costs when nobody disturbs."""
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        linter.findings(attempt([str(file)]))
        taken.append(time.perf_counter() - started)
    return min(taken)


def _in_force(file: Path, rules: int) -> RulesInForce:
    _written(file, rules)
    in_force = RulesInForce(RulesSettings(files=(str(file),)), Metrics())
    gc.collect()
    gc.freeze()
    return in_force


async def _reload(in_force: RulesInForce) -> tuple[float, float]:
    """Returns how long a reload took, and the longest time that something else had to wait for its turn."""
    turns: list[float] = []

    async def turn() -> None:
        while True:
            turns.append(time.perf_counter())
            await asyncio.sleep(0.001)

    turning = asyncio.create_task(turn())
    started = time.perf_counter()
    await in_force.reload()
    taken = time.perf_counter() - started
    turning.cancel()
    return taken, max(after - before for before, after in pairwise([*turns, time.perf_counter()]))

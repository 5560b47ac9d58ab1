"""Our engine and promtool reach the same verdict on random rules over random series.

``DIFFERENTIAL_CASES`` says how many (200), ``DIFFERENTIAL_SEED`` which.
"""

from __future__ import annotations

import os
import re
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.support import promtool
from tests.support.random_rules import Case, Outcome, random_case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BATCH = 50
PROGRESS_EVERY = 500

ORDERS = 12
"""How often promtool is run again: sums over series depend on the order in which it reads them, which is random."""


@pytest.mark.prometheus
def test_random_rules_reach_the_same_verdict_as_promtool(tmp_path: Path) -> None:
    cases = int(os.environ.get("DIFFERENTIAL_CASES", "200"))
    seed = os.environ.get("DIFFERENTIAL_SEED", "1")

    judged = disagreements = raised = failed = 0
    report = ""
    for batch in _batches(seed, cases, tmp_path):
        verdicts = promtool.run_tests([outcome.test_file for _, outcome in batch])
        for (case, outcome), verdict in zip(batch, verdicts, strict=True):
            judged += 1
            raised += any(alerts for step in outcome.playback.steps for alerts in step.alerts.values())
            failed += outcome.playback.failed is not None
            if not agrees(outcome, verdict) and not _agrees_at_last(outcome):
                disagreements += 1
                report = report or _minimal(case, tmp_path)
        for file in tmp_path.glob("case-*"):
            file.unlink()
        if judged % PROGRESS_EVERY == 0:
            print(f"{judged:,} of {cases:,} cases, {disagreements} disagree", flush=True)  # noqa: T201 - printed with -s

    assert not disagreements, f"{disagreements} of {judged} cases disagree (seed {seed}); the first one:\n{report}"
    assert judged == cases
    assert raised > judged / 3, "too few cases raise alerts"
    assert failed < judged / 3, "too many cases end in an evaluation that fails"


def agrees(outcome: Outcome, verdict: promtool.Verdict) -> bool:
    failed = outcome.playback.failed
    if not outcome.comparable and "many-to-many matching not allowed" in verdict.output:
        return True
    if failed is None:
        return verdict.passed
    expected = {(failure.name, failed.at_ms, _kind(failure.message)) for failure in failed.failures}
    errors = re.findall(r"^    rule: ([\w:]+), time: (\S+), err: (.*)$", verdict.output, re.MULTILINE)
    got = {(name, _milliseconds(time), _kind(message)) for name, time, message in errors}
    # A rule that fails for one participant while it is evaluated, and for another with what it records, says both here.
    is_same = got <= expected and {error[:2] for error in got} == {error[:2] for error in expected}
    return is_same and "alertname:" not in verdict.output


def _batches(seed: str, cases: int, folder: Path) -> Iterator[list[tuple[Case, Outcome]]]:
    number, left = 0, cases
    while left:
        batch: list[tuple[Case, Outcome]] = []
        while len(batch) < min(BATCH, left):
            number += 1
            case = random_case(Random(f"{seed}/{number}"))
            outcome = case.write(folder, f"case-{number}")
            if outcome is not None:
                batch.append((case, outcome))
        left -= len(batch)
        yield batch


def _agrees_at_last(outcome: Outcome) -> bool:
    return any(agrees(outcome, promtool.run_tests([outcome.test_file])[0]) for _ in range(ORDERS))


def _minimal(case: Case, folder: Path) -> str:
    """Returns the files of the smallest case that still disagrees, and what promtool says of it."""
    smallest = case
    while (smaller := next((s for s in smallest.smaller() if _disagrees(s, folder)), None)) is not None:
        smallest = smaller
    outcome = smallest.write(folder, "minimal")
    assert outcome is not None
    [verdict] = promtool.run_tests([outcome.test_file])
    rules = (folder / "minimal.rules.yml").read_text()
    ours = f"# our engine: {outcome.playback.failed}\n" if outcome.playback.failed else ""
    return f"# minimal.rules.yml\n{rules}\n# minimal.test.yml\n{outcome.test_file.read_text()}\n{ours}{verdict.output}"


def _disagrees(case: Case, folder: Path) -> bool:
    outcome = case.write(folder, "minimal") if case.rules else None
    return outcome is not None and not _agrees_at_last(outcome)


def _kind(message: str) -> str:
    return re.split(r"[{\[]|(?<=for timestamp)|(?<=out of order sample)", message, maxsplit=1)[0].strip()


def _milliseconds(time: str) -> int:
    """Reads Go's durations: 1m15s."""
    units = {"h": 3_600_000, "m": 60_000, "s": 1_000}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", time))

"""What wakes a person, by `rules backtest` over an hour of each scenario, beside what the simulator knows of it."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from click.testing import CliRunner

from exporter.cli.main import cli
from exporter.simulator import scenario as scenarios
from exporter.simulator.scenario import Outage
from exporter.simulator.world import World, ispbs
from tests.support.program import ROOT, RULES
from tests.support.simulated import BEGAN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

pytestmark = [pytest.mark.postgres, pytest.mark.no_cover]

HOUR_SECONDS: Final = 3600
HUMAN_SECONDS: Final = 300
"""How long a person takes to come: what is over by then was no reason to wake one."""

PARTICIPANTS: Final = ispbs(2)
LOOK_EACH_SECONDS: Final = 5
JOINED_SECONDS: Final = 60
"""Stretches with less between them are one."""

FOUND: Final[dict[str, list[Fired]]] = {}
"""What the backtest of each scenario found: it takes a while."""

SCENARIOS: Final = sorted(path.stem for path in scenarios.SHIPPED.glob("*.yml"))


@dataclass(frozen=True)
class Stretch:
    """Time in which calls were refused with 429 (of a policy), or the Bridge did not answer (without one)."""

    participant: str
    policy: str | None
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True)
class Fired:
    """An alert of the backtest; ``end`` is the hour's where it still fires then."""

    name: str
    severity: str
    participant: str
    policy: str | None
    begin: float
    end: float


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_nothing_pages_that_ended_before_a_person_could_act(recorded, scenario) -> None:
    alerts = await backtested(recorded, scenario)

    for alert in filter(pages(), alerts):
        # What still fires at the end of the hour has not ended.
        assert alert.end == HOUR_SECONDS or alert.end - alert.begin >= HUMAN_SECONDS, alert


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_nothing_that_lasts_is_missed(recorded, scenario) -> None:
    alerts = await backtested(recorded, scenario)

    for stretch in truth(scenario):
        if stretch.seconds >= HUMAN_SECONDS:
            told = [
                a for a in filter(pages(), alerts) if (a.participant, a.policy) == (stretch.participant, stretch.policy)
            ]
            assert any(a.begin <= stretch.begin + HUMAN_SECONDS and stretch.begin < a.end for a in told), stretch


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_the_documentation_has_the_table(recorded, scenario) -> None:
    alerts = await backtested(recorded, scenario)
    paging = [alert for alert in alerts if pages()(alert)]
    stretches = truth(scenario)
    refused = [s.seconds for s in stretches if s.policy is not None]
    away = [s.seconds for s in stretches if s.policy is None]

    row = [
        f"`{scenario}`",
        _longest(refused),
        _longest(away),
        str(sum(alert.severity == "critical" and not pages()(alert) for alert in alerts)),
        str(len(paging)),
        _minutes(min(alert.end - alert.begin for alert in paging)) if paging else "",
        ", ".join(sorted({a.policy or "the Bridge" for a in paging})),
    ]

    row = [cell or "-" for cell in row]
    section = (ROOT / "docs" / "rules.md").read_text().partition("## What wakes a person")[2].partition("\n## ")[0]
    assert f"| {' | '.join(row)} |" in section.splitlines()


def _longest(seconds: Sequence[float]) -> str:
    return f"{len(seconds)}, at most {_minutes(max(seconds))}" if seconds else "none"


def _minutes(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    return " ".join([f"{minutes} min"] * bool(minutes) + [f"{left} s"] * bool(left or not minutes))


async def backtested(recorded: Callable[..., Any], scenario: str) -> list[Fired]:
    if scenario not in FOUND:
        FOUND[scenario] = await _backtested(recorded, scenario)
    return FOUND[scenario]


async def _backtested(recorded: Callable[..., Any], scenario: str) -> list[Fired]:
    past = await recorded(scenario, participants=len(PARTICIPANTS), seconds=HOUR_SECONDS, interval_seconds=15)
    until = BEGAN + timedelta(seconds=HOUR_SECONDS)
    arguments = [str(RULES), f"--since={BEGAN.isoformat()}", f"--until={until.isoformat()}", "--output=json"]
    runner = CliRunner(env={"DICT_RATE_LIMIT_DATABASE__DSN": past.dsn})
    result = await asyncio.to_thread(runner.invoke, cli, ["rules", "backtest", "--processes=1", *arguments])
    assert result.exit_code == 0, result.output
    return [_fired(pair["rules"]) for pair in json.loads(result.stdout)["alerts"]]


def _fired(episode: dict[str, Any]) -> Fired:
    def second(at: str | None) -> float:
        return HOUR_SECONDS if at is None else (datetime.fromisoformat(at) - BEGAN).total_seconds()

    return Fired(
        episode["alertname"],
        episode["severity"],
        episode["participant"],
        episode["policy"],
        second(episode["starts_at"]),
        second(episode["ends_at"]),
    )


def pages() -> Callable[[Fired], bool]:
    """Returns what Alertmanager's route to PagerDuty takes."""
    configuration = yaml.safe_load((ROOT / "alertmanager" / "alertmanager.yml").read_text())
    [route] = [route for route in configuration["route"]["routes"] if route["receiver"] == "pagerduty"]
    severity, names = route["matchers"]
    (excepted,) = re.fullmatch(r'alertname!~"(.*)"', names).groups()
    assert severity == 'severity="critical"'
    return lambda alert: alert.severity == "critical" and not re.fullmatch(excepted, alert.name)


@cache
def truth(scenario: str) -> list[Stretch]:
    """Returns what happened, whoever looked."""
    made = scenarios.load(scenario)
    world = World(made, PARTICIPANTS, 1, BEGAN)
    found = []
    for index, participant in enumerate(PARTICIPANTS):
        bad: dict[str | None, list[int]] = {}
        before: dict[str, int] = {}
        for seconds in range(LOOK_EACH_SECONDS, HOUR_SECONDS + 1, LOOK_EACH_SECONDS):
            for policy, account in world.accounts(participant, BEGAN + timedelta(seconds=seconds)).items():
                refused = account.rate_limited
                if refused > before.get(policy, 0):
                    bad.setdefault(policy, []).append(seconds)
                before[policy] = refused
            faults = [fault for fault in made.faults if isinstance(fault, Outage) and fault.concerns(index)]
            if any(fault.covers(seconds) for fault in faults):
                bad.setdefault(None, []).append(seconds)
        found += [
            Stretch(participant, policy, begin - LOOK_EACH_SECONDS, end)
            for policy, instants in bad.items()
            for begin, end in _joined(instants)
        ]
    return found


def _joined(instants: Iterable[int]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for instant in instants:
        if joined and instant - joined[-1][1] <= JOINED_SECONDS:
            joined[-1] = (joined[-1][0], instant)
        else:
            joined.append((instant, instant))
    return joined

"""The timer and its budget."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bridge.client import Fetched
from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesResponse
from exporter.buckets.observation import Failure, Observation
from exporter.config import Duration, PollSettings
from exporter.errors import BadAnswer, BridgeBudgetExhausted, BridgeUnavailable
from exporter.feed.backlog import Stream
from exporter.metrics import Metrics
from exporter.poller import LONGEST_WAIT_SECONDS, RESERVE_TOKENS, Budget, Clock, Poller
from tests.support.builders import PARTICIPANT
from tests.support.simulated import Simulation

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def answer(tokens: int = 20, *, category: str = "A", capacity: int = 20, available: int = 30_000):
    response = GetRateLimitPoliciesResponse(correlation_id="c", category=category)
    response.response_time.FromDatetime(datetime.now(UTC))
    response.policies.add(
        name="POLICIES_LIST", available_tokens=tokens, capacity=capacity, refill_tokens=6, refill_period_sec=60
    )
    response.policies.add(
        name="ENTRIES_WRITE", available_tokens=available, capacity=36_000, refill_tokens=1200, refill_period_sec=60
    )
    return response


class ScriptedClient:
    """Gives each outcome in turn, the last again and again; remembers how it was asked."""

    def __init__(self, *outcomes) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[dict] = []

    async def fetch(self, participant, **how) -> Fetched:
        self.asked.append(how)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return Fetched(outcome() if callable(outcome) else outcome, 1)


def poller(*outcomes, interval: float = 15, retries: int = 2):
    polls: list = []
    metrics = Metrics()
    client = ScriptedClient(*outcomes)
    made = Poller(
        PARTICIPANT,
        client=client,
        settings=PollSettings(interval=Duration(interval)),
        retries=retries,
        sink=Stream(polls.append),
        metrics=metrics,
        clock=Clock(),
    )
    return made, polls, client, metrics


def value(metrics: Metrics, line: str) -> float | None:
    for found in metrics.exposition().decode().splitlines():
        if found.startswith(line + " "):
            return float(found.rsplit(" ", 1)[1])
    return None


def failing(kind, code: str, attempts: int = 1):
    error = kind("no", code=code)
    error.attempts = attempts
    return error


async def test_an_answered_poll_is_shown_and_published() -> None:
    made, polls, _, metrics = poller(answer)

    wait_seconds = await made.poll(15)

    assert isinstance(polls[0].result, Observation)
    assert polls[0].sequence == 1
    assert wait_seconds == 15
    assert value(metrics, f'dict_rate_limit_up{{participant="{PARTICIPANT}"}}') == 1


async def test_a_failed_poll_is_published_too_and_counted() -> None:
    made, polls, _, metrics = poller(failing(BridgeUnavailable, "UNAVAILABLE", 3))

    await made.poll(15)

    assert polls[0].result == Failure("UNAVAILABLE", "no")
    errors = f'dict_rate_limit_poll_errors_total{{code="UNAVAILABLE",participant="{PARTICIPANT}"}}'
    other = f'dict_rate_limit_poll_errors_total{{participant="{PARTICIPANT}",code="UNAVAILABLE"}}'
    assert 1 in {value(metrics, errors), value(metrics, other)}


async def test_sequences_count_the_polls_of_a_stream() -> None:
    made, polls, _, _ = poller(answer, failing(BridgeUnavailable, "UNAVAILABLE"), answer)

    for _ in range(3):
        await made.poll(15)

    assert [poll.sequence for poll in polls] == [1, 2, 3]
    assert len({poll.stream_id for poll in polls}) == 1


async def test_a_bad_answer_is_a_failed_poll_with_its_defects_counted() -> None:
    made, polls, _, metrics = poller(GetRateLimitPoliciesResponse())

    await made.poll(15)

    assert polls[0].result.code == "BAD_ANSWER"
    assert "dict_rate_limit_answer_defects_total" in metrics.exposition().decode()


async def test_after_429_the_bucket_has_time_to_refill() -> None:
    made, _, client, _ = poller(failing(BridgeBudgetExhausted, "RESOURCE_EXHAUSTED"))

    wait_seconds = await made.poll(15)
    await made.poll(15)

    assert wait_seconds >= 20
    assert client.asked[1]["retries"] == 0


async def test_calls_that_were_not_answered_count_against_the_budget() -> None:
    made, polls, client, _ = poller(
        lambda: answer(11), failing(BridgeUnavailable, "UNAVAILABLE", 3), failing(BridgeUnavailable, "UNAVAILABLE", 3)
    )

    for _ in range(3):
        await made.poll(15)

    assert [poll.interval_seconds for poll in polls] == [15, 30, 30]
    assert [asked["retries"] for asked in client.asked] == [1, 2, 2]


async def test_a_bad_answer_costs_every_call_that_it_took() -> None:
    made, _, _, _ = poller(lambda: answer(11), failing(BadAnswer, "BAD_ANSWER", 4))

    await made.poll(15)
    await made.poll(15)

    assert made._budget.tokens == 7


async def test_a_change_of_category_is_remembered_and_logged(caplog) -> None:
    made, polls, _, _ = poller(lambda: answer(category="A"), lambda: answer(category="B"))

    await made.poll(15)
    await made.poll(15)

    assert polls[0].category_changed_at is None
    assert polls[1].category_changed_at == polls[1].result.observed_at
    assert "category changed from A to B" in caplog.text


async def test_a_difference_from_the_published_table_is_told_once(caplog) -> None:
    caplog.set_level("INFO")
    made, _, _, _ = poller(lambda: answer(capacity=30))

    await made.poll(15)
    await made.poll(15)

    told = [r for r in caplog.records if "differs from DICT's published table" in r.getMessage()]
    assert len(told) == 1


async def test_run_polls_at_exact_intervals(monkeypatch) -> None:
    made, polls, _, _ = poller(answer, interval=0.05)
    began = asyncio.get_running_loop().time()

    task = asyncio.create_task(made.run())
    while len(polls) < 10:
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    elapsed = asyncio.get_running_loop().time() - began

    gaps = [(b.polled_at - a.polled_at).total_seconds() for a, b in itertools.pairwise(polls)]
    # On the grid: lateness of one poll does not push the next.
    assert sum(gaps) == pytest.approx(0.05 * round(sum(gaps) / 0.05), abs=0.03)
    assert elapsed >= 9 * 0.05 - 0.02


async def test_a_poll_that_runs_out_of_time_ends_before_the_next_is_due() -> None:
    made, polls, client, _ = poller(answer, interval=0.05)

    task = asyncio.create_task(made.run())
    while not polls:
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert 0.9 * 0.05 < client.asked[0]["time_limit_seconds"] < 0.05


@pytest.mark.parametrize(("tokens", "interval"), [(20, 15), (11, 15), (10, 15), (9, 30), (5, 30), (2, 30), (0, 30)])
def test_the_interval_stretches_before_policies_list_is_dry(tokens, interval) -> None:
    assert Budget(tokens, 20).interval_seconds(15) == interval


@given(tokens=st.integers(0, 200), capacity=st.integers(3, 200), wanted=st.sampled_from([5.0, 10.0, 15.0, 60.0]))
def test_a_stretched_interval_is_a_whole_number_of_intervals(tokens, capacity, wanted) -> None:
    interval = Budget(min(tokens, capacity), capacity).interval_seconds(wanted)

    assert interval >= wanted
    assert interval % wanted == pytest.approx(0)


@pytest.mark.parametrize("dry", [False, True])
async def test_a_refill_that_cannot_be_does_not_end_the_polling(dry) -> None:
    def absurd() -> GetRateLimitPoliciesResponse:
        response = answer(0)
        response.policies[0].refill_period_sec = 2**62
        return response

    made, _, _, _ = poller(absurd, failing(BridgeBudgetExhausted, "RESOURCE_EXHAUSTED"))

    waits_seconds = [await made.poll(15) for _ in range(2 if dry else 1)]

    assert waits_seconds[-1] == LONGEST_WAIT_SECONDS


@given(tokens=st.integers(0, 200), wanted=st.integers(0, 10))
def test_a_retry_leaves_a_token_for_the_next_poll(tokens, wanted) -> None:
    retries = Budget(tokens, 200).retries(wanted)

    assert 0 <= retries <= wanted
    assert retries == 0 or tokens - retries >= RESERVE_TOKENS


@pytest.mark.parametrize("interval", [5, 10, 15, 60])
@pytest.mark.parametrize("pollers", [1, 2])
async def test_pollers_never_drain_policies_list(interval, pollers) -> None:
    """Two pollers share a world: as two replicas that cannot reach the database would."""
    simulation = Simulation("steady", interval_seconds=interval)
    made = [simulation.pollers[0]]
    if pollers == 2:
        made.append(Simulation("steady", interval_seconds=interval).pollers[0])
        made[1]._client, made[1]._clock = made[0]._client, made[0]._clock
        made[1]._sink = made[0]._sink
    due = [0.0] * pollers
    elapsed = 0.0
    while elapsed < 3600:
        first = min(range(pollers), key=lambda n: due[n])
        simulation.clock.advance(due[first] - elapsed)
        elapsed = due[first]
        due[first] += await made[first].poll(interval) + 0.01 * first

    failed = [poll for poll in simulation.polls if not poll.answered]
    assert not failed
    assert len(simulation.polls) >= 3600 / max(30, interval)


def test_the_clock_never_goes_back() -> None:
    wall, monotonic = iter([100.0, 101.0, 50.0, 51.0, 200.0]), iter([0.0, 1.0, 2.0, 3.0, 4.0])
    clock = Clock(wall=lambda: next(wall), monotonic=lambda: next(monotonic))

    seconds = [clock.now().timestamp() for _ in range(4)]

    assert seconds == [101, 102, 103, 200]


def test_the_clock_goes_on_from_the_last_poll_of_another_process() -> None:
    wall, monotonic = iter([100.0, 100.0, 101.0, 200.0]), iter([0.0, 0.0, 1.0, 2.0])
    clock = Clock(wall=lambda: next(wall), monotonic=lambda: next(monotonic))

    clock.go_on_from(datetime.fromtimestamp(160, UTC))

    assert [clock.now().timestamp() for _ in range(2)] == [161, 200]

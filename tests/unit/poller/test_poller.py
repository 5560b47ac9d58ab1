"""The timer and its budget."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from exporter.bridge.client import Fetched
from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesResponse, GetRateLimitPolicyResponse
from exporter.buckets.bucket import Ispb
from exporter.buckets.catalog import ANTISCAN
from exporter.buckets.observation import Category, Failure, Observation
from exporter.clock import Clock
from exporter.config.settings import BridgeSettings, PollSettings, ReadsSettings, Settings
from exporter.durations import Duration
from exporter.errors import BadAnswer, BridgeBudgetExhausted, BridgeError, BridgeRefused, BridgeUnavailable
from exporter.feed.backlog import Stream
from exporter.metrics import Metrics
from exporter.poller.budget import LONGEST_WAIT_SECONDS, Budget
from exporter.poller.poller import Poller
from exporter.poller.reads_off import ReadsOff
from exporter.simulator import scenario as scenarios
from exporter.simulator.world import World, ispbs
from tests.support.builders import PARTICIPANT
from tests.support.logs import logged
from tests.support.simulated import BEGAN, Simulation
from tests.support.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def answer(
    tokens: int = 20, *, category: str = "A", capacity: int = 20, available: int = 30_000, ahead_seconds: float = 0
):
    response = GetRateLimitPoliciesResponse(correlation_id="c", category=category)
    response.response_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=ahead_seconds))
    response.policies.add(
        name="POLICIES_LIST", available_tokens=tokens, capacity=capacity, refill_tokens=6, refill_period_sec=60
    )
    response.policies.add(
        name="ENTRIES_WRITE", available_tokens=available, capacity=36_000, refill_tokens=1200, refill_period_sec=60
    )
    return response


def answer_with_keys(*, available: int = 70, ahead_seconds: float = 0) -> GetRateLimitPoliciesResponse:
    """An answer with a bucket that is read between polls, and with the one that pays for it."""
    response = answer(ahead_seconds=ahead_seconds)
    response.policies.add(
        name="KEYS_CHECK", available_tokens=available, capacity=70, refill_tokens=70, refill_period_sec=60
    )
    response.policies.add(
        name="POLICIES_READ", available_tokens=200, capacity=200, refill_tokens=60, refill_period_sec=60
    )
    return response


def read_answer(*, available: int = 5, ahead_seconds: float = 1) -> GetRateLimitPolicyResponse:
    response = GetRateLimitPolicyResponse(correlation_id="r", category="A")
    response.response_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=ahead_seconds))
    response.policy.CopyFrom(answer_with_keys(available=available).policies[2])
    return response


class ScriptedClient:
    """Gives each outcome in turn, the last again and again; remembers what it was asked, and when."""

    def __init__(self, *outcomes) -> None:
        self.outcomes = list(outcomes)
        self.durations: list[float] = []
        self.attempts = 1
        self.asked: list[dict] = []
        self.asked_at: list[float] = []
        self.reads: list[tuple] = []
        self.read_at: list[float] = []
        self.read_outcomes: list = [read_answer]

    async def fetch(self, participant, **how) -> Fetched:
        self.asked.append({"participant": participant, **how})
        self.asked_at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.durations.pop(0) if self.durations else 0)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return Fetched(outcome() if callable(outcome) else outcome, self.attempts)

    async def read(self, participant, policy, *, time_limit_seconds) -> GetRateLimitPolicyResponse:
        now = asyncio.get_running_loop().time()
        self.read_at.append(now)
        self.reads.append((participant, policy, time_limit_seconds))
        outcome = self.read_outcomes.pop(0) if len(self.read_outcomes) > 1 else self.read_outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome() if callable(outcome) else outcome


def poller(
    *outcomes,
    interval: float = 15,
    retries: int = 2,
    participant: str = PARTICIPANT,
    clock: Clock | None = None,
    reads: ReadsSettings | None = None,
):
    polls: list = []
    metrics = Metrics()
    client = ScriptedClient(*outcomes)
    made = Poller(
        Ispb(participant),
        client=client,
        settings=Settings(
            poll=PollSettings(interval=Duration(interval), reads=reads or ReadsSettings()),
            bridge=BridgeSettings(target="bridge:1", retries=retries),
        ),
        sink=Stream(polls.append),
        metrics=metrics,
        clock=clock or Clock(),
        reads_off=ReadsOff(metrics.polls.reads_off),
    )
    return made, polls, client, metrics


def run_for(seconds: float, *outcomes, interval: float = 15, durations: Sequence[float] = ()) -> ScriptedClient:
    """Lets a poller run for so many seconds of virtual time; its polls take ``durations``."""
    made, _, client, _ = poller(*outcomes, interval=interval)
    client.durations = list(durations)
    run(made, seconds)
    return client


def run(made: Poller, seconds: float) -> None:
    async def for_a_while() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(made.run(), seconds)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(for_a_while())


def since_the_first(client: ScriptedClient, polls: int) -> list[float]:
    """Returns when these polls began, in seconds after the first."""
    return [at - client.asked_at[0] for at in client.asked_at[:polls]]


def value(metrics: Metrics, line: str) -> float | None:
    for found in metrics.exposition().decode().splitlines():
        if found.startswith(line + " "):
            return float(found.rsplit(" ", 1)[1])
    return None


def defects(reason: str) -> str:
    return f'dict_rate_limit_answer_defects_total{{participant="{PARTICIPANT}",reason="{reason}"}}'


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


async def test_a_poll_tells_how_it_was_made() -> None:
    made, polls, client, metrics = poller(answer)

    await made.poll(14)

    (poll,) = polls
    assert client.asked == [{"participant": PARTICIPANT, "retries": 1, "time_limit_seconds": 14}]
    assert (poll.participant, poll.interval_seconds, poll.staleness_seconds) == (PARTICIPANT, 15, 300)
    assert (poll.result.participant, poll.result.category) == (PARTICIPANT, "A")
    assert 0 <= poll.duration_seconds < 5
    assert value(metrics, 'dict_rate_limit_monitoring_duration_seconds_count{operation="poll"}') == 1
    assert value(metrics, 'dict_rate_limit_monitoring_duration_seconds_sum{operation="poll"}') == poll.duration_seconds


async def test_a_poll_remembers_when_the_bridge_last_answered() -> None:
    made, polls, _, _ = poller(answer, failing(BridgeUnavailable, "UNAVAILABLE"))

    await made.poll(15)
    await made.poll(15)

    assert polls[0].last_success_at == polls[0].polled_at
    assert polls[1].last_success_at == polls[0].polled_at < polls[1].polled_at


async def test_before_the_first_answer_a_poll_knows_of_none() -> None:
    made, polls, _, _ = poller(failing(BridgeUnavailable, "UNAVAILABLE"))

    await made.poll(15)

    assert (polls[0].last_success_at, polls[0].clock_skew_seconds, polls[0].category) == (None, None, None)


async def test_buckets_are_shown_through_a_failed_poll() -> None:
    made, _, _, metrics = poller(answer, failing(BridgeUnavailable, "UNAVAILABLE"))

    await made.poll(15)
    await made.poll(15)

    tokens = f'dict_rate_limit_available_tokens{{participant="{PARTICIPANT}",policy="ENTRIES_WRITE"}}'
    assert value(metrics, tokens) == 30_000
    assert made.view.at > made.view.buckets["ENTRIES_WRITE"].confirmed_at


async def test_a_poll_tells_the_clock_skew_of_the_last_answer() -> None:
    def ahead() -> GetRateLimitPoliciesResponse:
        return answer(ahead_seconds=100)

    made, polls, _, _ = poller(ahead, failing(BridgeUnavailable, "UNAVAILABLE"))

    await made.poll(15)
    await made.poll(15)

    assert [poll.clock_skew_seconds for poll in polls] == pytest.approx([100, 100], abs=5)


async def test_an_answer_further_ahead_than_the_setting_allows_is_stamped_with_our_clock() -> None:
    made, polls, _, _ = poller(lambda: answer(ahead_seconds=400))

    await made.poll(15)

    assert polls[0].result.observed_at == polls[0].polled_at


async def test_an_answer_older_than_the_last_is_refused() -> None:
    made, polls, _, _ = poller(answer, lambda: answer(ahead_seconds=-100))

    await made.poll(15)
    await made.poll(15)

    assert isinstance(polls[0].result, Observation)
    assert polls[1].result.code == "BAD_ANSWER"


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
    assert {poll.stream_id for poll in polls} == {made._sink.stream_id}


async def test_a_bad_answer_is_a_failed_poll_with_its_defects_counted() -> None:
    made, polls, _, metrics = poller(GetRateLimitPoliciesResponse())

    await made.poll(15)

    assert polls[0].result.code == "BAD_ANSWER"
    assert value(metrics, defects("no_policies")) == 1


async def test_a_defect_in_an_answer_that_is_used_is_counted() -> None:
    made, polls, _, metrics = poller(lambda: answer(category="Z"))

    await made.poll(15)

    assert isinstance(polls[0].result, Observation)
    assert value(metrics, defects("unknown_category")) == 1


class SetClock(Clock):
    """Shows the time that a test sets."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def now(self) -> datetime:
        return self.at

    def go_on(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


async def test_an_answer_that_a_cache_repeats_becomes_a_failed_poll_and_news_ends_it(caplog) -> None:
    clock, repeated = SetClock(), answer(available=18_000)
    made, polls, client, metrics = poller(repeated, clock=clock)
    for _ in range(22):
        await made.poll(15)
        clock.go_on(15)
    client.outcomes = [lambda: answer(available=18_000, ahead_seconds=330)]
    await made.poll(15)

    assert [poll.answered for poll in polls] == [True] * 20 + [False] * 2 + [True]
    assert polls[20].result.code == "BAD_ANSWER"
    assert "is there a cache in between?" in polls[20].result.message
    assert value(metrics, defects("repeated")) == 2
    assert value(metrics, defects("clock_skew")) is None
    consumption = {b.consumption_rate_per_minute for p in polls[:20] for b in p.result.buckets}
    assert consumption <= {None}, "what repeats makes up no consumption"


async def test_an_answer_that_comes_again_says_nothing_of_the_tokens_that_are_left() -> None:
    made, _, _, _ = poller(answer(tokens=12))
    for _ in range(3):
        await made.poll(15)

    assert made._budget.tokens == 10


async def test_caches_that_answer_in_turn_are_no_news_either() -> None:
    clock = SetClock()
    old, older = answer(ahead_seconds=-3600), answer(ahead_seconds=-7200)
    made, polls, client, _ = poller(old, clock=clock)
    for outcome in (older, old, older, old, older):
        client.outcomes = [outcome]
        await made.poll(15)
        clock.go_on(15)

    assert [poll.answered for poll in polls] == [True, True, False, True, False]


async def test_a_debt_is_never_less_than_it_was() -> None:
    assert Budget(-3, 20).less(1).tokens == -3


async def test_a_defect_that_stays_is_told_once_and_counted_each_time(caplog) -> None:
    made, _, client, metrics = poller(lambda: answer(category="Z"))
    for _ in range(3):
        await made.poll(15)
    client.outcomes = [answer, lambda: answer(category="Z")]
    for _ in range(2):
        await made.poll(15)

    assert value(metrics, defects("unknown_category")) == 4
    assert logged(caplog, "reason").count(("defect in the Bridge's answer", "unknown_category")) == 2


async def test_policies_that_never_come_again_leave_nothing_behind() -> None:
    numbers = iter(range(100_000))

    def ever_new() -> GetRateLimitPoliciesResponse:
        response = answer()
        for _ in range(1_000):
            response.policies.add(
                name=f"P{next(numbers)}", available_tokens=1, capacity=20, refill_tokens=6, refill_period_sec=60
            )
        return response

    made, _polls, _, metrics = poller(ever_new)
    for _ in range(20):
        await made.poll(15)

    assert made.view is not None
    assert len(made.view.buckets) == 256
    assert {"POLICIES_LIST", "ENTRIES_WRITE"} < made.view.buckets.keys()
    assert len(made._differences._logged) <= 256
    assert value(metrics, defects("too_many_policies")) == 20


async def test_a_failure_is_a_warning_once_and_its_end_is_told(caplog) -> None:
    caplog.set_level("INFO")
    away = failing(BridgeUnavailable, "UNAVAILABLE")
    made, _, _, _ = poller(away, away, answer, answer, away, reads=ReadsSettings(share=0))

    told = []
    for _ in range(5):
        before = len(caplog.records)
        await made.poll(15)
        told.append(logged(caplog, "levelname", "error")[before:])

    assert told == [
        [("poll failed", "WARNING", "no")],
        [("poll failed again", "INFO", "no")],
        [("poll answered again", "INFO", "")],
        [],
        [("poll failed", "WARNING", "no")],
    ]
    assert {(r.participant, getattr(r, "code", None)) for r in caplog.records} == {
        (PARTICIPANT, "UNAVAILABLE"),
        (PARTICIPANT, None),
    }


async def test_after_429_the_bucket_has_time_to_refill() -> None:
    made, _, client, _ = poller(failing(BridgeBudgetExhausted, "RESOURCE_EXHAUSTED"))

    wait_seconds = await made.poll(15)
    await made.poll(15)

    assert wait_seconds >= 20
    assert client.asked[1]["retries"] == 0


@pytest.mark.parametrize(
    ("known", "wait_seconds"),
    [
        (Budget(15, 20, 6000, 60), 10),
        (Budget(15, 20, 6, 60), 10),
        (Budget(15, 20, 1, 60), 60),
        (Budget(0, 20, 6000, 60), 0.01),
        (Budget(), 10),
    ],
    ids=["more than published", "as published", "less than published", "it was dry", "not known"],
)
def test_a_429_that_the_budget_does_not_explain_makes_its_refill_that_of_dict_or_slower(
    known: Budget, wait_seconds: float
) -> None:
    dry = known.dry(0.0)

    assert (dry.tokens, dry.capacity) == (0, 20)
    assert dry.seconds_per_token == pytest.approx(wait_seconds)
    assert dry.dry() == dry


def test_a_bucket_that_was_dry_and_should_have_refilled_since_is_not_explained_either() -> None:
    assert Budget(0, 20, 6000, 60).dry(1.0).seconds_per_token == 10
    assert Budget(-50, 20, 6000, 60).dry(1.0).seconds_per_token == 10
    assert Budget(-500, 20, 6000, 60).dry(1.0).seconds_per_token == pytest.approx(0.01)
    assert Budget(0, 20, 1, 60).dry(120.0).seconds_per_token == 60


async def test_calls_that_were_not_answered_count_against_the_budget() -> None:
    made, polls, client, _ = poller(
        lambda: answer(11), failing(BridgeUnavailable, "UNAVAILABLE", 3), failing(BridgeUnavailable, "UNAVAILABLE", 3)
    )

    for _ in range(3):
        await made.poll(15)

    assert [poll.interval_seconds for poll in polls] == [15, 30, 30]
    assert [asked["retries"] for asked in client.asked] == [1, 2, 2]


async def test_an_answer_found_bad_only_when_read_costs_every_call_too() -> None:
    made, _, client, _ = poller(lambda: answer(11), GetRateLimitPoliciesResponse())
    client.attempts = 3

    await made.poll(15)
    await made.poll(15)

    assert made._budget.tokens == 8


@pytest.mark.parametrize("calls", [1, 4])
async def test_a_bad_answer_costs_every_call_that_it_took(calls) -> None:
    made, _, _, _ = poller(lambda: answer(11), BadAnswer("no", attempts=calls))

    await made.poll(15)
    await made.poll(15)

    assert made._budget.tokens == 11 - calls


async def test_a_change_of_category_is_remembered_and_logged(caplog) -> None:
    outcomes = (lambda: answer(category="A"), lambda: answer(category="B"))
    made, polls, _, _ = poller(*outcomes, reads=ReadsSettings(share=0))

    await made.poll(15)
    await made.poll(15)

    assert polls[0].category == Category("A")
    assert polls[1].category == Category("B", polls[1].result.observed_at, "A")
    assert logged(caplog, "previous", "category") == [("category changed", "A", "B")]


async def test_an_answer_without_a_category_changes_none() -> None:
    made, polls, _, _ = poller(*(lambda c=c: answer(category=c) for c in ("A", "", "A", "B", "B")))

    for _ in range(5):
        await made.poll(15)

    changed_at = polls[3].result.observed_at
    changed = Category("B", changed_at, "A")
    assert [poll.category for poll in polls] == [Category("A"), Category("A"), Category("A"), changed, changed]


KNOWN = Category("A", NOW, "B")


async def test_what_was_known_of_the_category_before_the_start_is_remembered() -> None:
    made, polls, _, metrics = poller(answer, failing(BridgeUnavailable, "UNAVAILABLE"))

    await made.poll(15)
    made.learn_category(KNOWN)
    await made.poll(15)

    assert [poll.category for poll in polls] == [Category("A"), KNOWN]
    changed = "dict_rate_limit_category_changed_timestamp_seconds"
    labels = f'{{participant="{PARTICIPANT}",psp_category="A",previous_psp_category="B"}}'
    assert value(metrics, changed + labels) == NOW.timestamp()


async def test_a_category_that_was_known_before_the_first_answer_is_what_it_is_compared_with(caplog) -> None:
    made, polls, _, _ = poller(lambda: answer(category="C"), reads=ReadsSettings(share=0))

    made.learn_category(KNOWN)
    await made.poll(15)

    assert polls[0].category == Category("C", polls[0].result.observed_at, "A")
    assert logged(caplog, "previous", "category") == [("category changed", "A", "C")]


async def test_a_change_that_was_seen_outweighs_what_was_known_before() -> None:
    made, polls, _, _ = poller(*(lambda c=c: answer(category=c) for c in ("B", "A")), answer)

    for _ in range(2):
        await made.poll(15)
    made.learn_category(KNOWN)
    await made.poll(15)

    assert polls[2].category == Category("A", polls[1].result.observed_at, "B")


async def test_a_difference_from_the_published_table_is_told_once(caplog) -> None:
    caplog.set_level("INFO")
    made, _, _, _ = poller(lambda: answer(capacity=30))

    await made.poll(15)
    await made.poll(15)

    (told,) = [r for r in caplog.records if "differs from DICT's published table" in r.getMessage()]
    assert told.policy == "POLICIES_LIST"


async def test_a_bucket_is_compared_with_what_is_published_for_the_participants_category(caplog) -> None:
    def of_category_a() -> GetRateLimitPoliciesResponse:
        response = answer(category="B")
        response.policies.add(
            name=ANTISCAN, available_tokens=1, capacity=50_000, refill_tokens=25_000, refill_period_sec=60
        )
        return response

    caplog.set_level("INFO")
    made, _, _, _ = poller(of_category_a)

    await made.poll(15)

    assert any("ENTRIES_READ_PARTICIPANT_ANTISCAN holds 50000" in line[1] for line in logged(caplog, "difference"))


async def test_another_difference_of_the_same_policy_is_told_too(caplog) -> None:
    caplog.set_level("INFO")
    made, _, _, _ = poller(lambda: answer(capacity=30), lambda: answer(capacity=31))

    await made.poll(15)
    await made.poll(15)

    assert len([r for r in caplog.records if "differs from DICT's published table" in r.getMessage()]) == 2


def test_run_polls_at_exact_intervals() -> None:
    client = run_for(100, answer, durations=[2] * 10)

    assert since_the_first(client, 6) == pytest.approx([0, 15, 30, 45, 60, 75])


def test_a_poll_that_begins_late_does_not_push_the_next() -> None:
    def busy_when_the_next_is_due() -> GetRateLimitPoliciesResponse:
        loop = asyncio.get_running_loop()
        loop.call_later(14, loop.block, 3)
        return answer()

    client = run_for(80, answer, busy_when_the_next_is_due, answer)

    assert since_the_first(client, 5) == pytest.approx([0, 15, 32, 45, 60])


def test_a_poll_that_takes_longer_than_the_interval_costs_the_instants_it_missed_only() -> None:
    client = run_for(100, answer, durations=[0, 20, 0])

    assert since_the_first(client, 5) == pytest.approx([0, 15, 45, 60, 75])


def test_a_poll_that_ends_as_the_next_is_due_costs_it_nothing() -> None:
    client = run_for(80, answer, durations=[15, 0])

    assert since_the_first(client, 3) == pytest.approx([0, 15, 30])


def test_while_tokens_are_short_run_polls_at_the_stretched_interval() -> None:
    client = run_for(100, lambda: answer(5), lambda: answer(5), answer)

    assert since_the_first(client, 4) == pytest.approx([0, 30, 60, 75])


def first_poll_at(started_at: float, participant: str = PARTICIPANT, *, interval: float = 15) -> float:
    """Returns when a process that starts at this time first polls, by the clock."""
    made, _, client, _ = poller(
        answer, interval=interval, participant=participant, clock=Clock(lambda: started_at, lambda: 0.0)
    )
    run(made, 20)
    return started_at + client.asked_at[0]


@pytest.mark.parametrize("interval", [60, 15, 8, 1])
def test_a_process_that_takes_over_polls_when_the_other_would_have(interval) -> None:
    cycle = min(interval, 15)
    first = first_poll_at(1_000_000.0, interval=interval)

    for started_at in (1_000_000.3, 1_000_004.9, 1_003_600.0):
        polls_apart = (first_poll_at(started_at, interval=interval) - first) / cycle
        assert polls_apart == pytest.approx(round(polls_apart), abs=0.05)
        assert first_poll_at(started_at, interval=interval) - started_at <= cycle


def test_participants_are_polled_at_instants_of_their_own() -> None:
    waits = [first_poll_at(0.0, f"{number:08}") for number in range(100)]

    assert min(waits) < 1
    assert max(waits) > 14
    assert len({round(wait) for wait in waits}) == 16


def test_a_poll_that_runs_out_of_time_ends_before_the_next_is_due() -> None:
    client = run_for(20, answer)

    assert 0.9 * 15 < client.asked[0]["time_limit_seconds"] < 15


@pytest.mark.parametrize("dry", [False, True])
async def test_a_refill_that_cannot_be_does_not_end_the_polling(dry) -> None:
    def absurd() -> GetRateLimitPoliciesResponse:
        response = answer(0)
        response.policies[0].refill_period_sec = 2**62
        return response

    made, _, _, _ = poller(absurd, failing(BridgeBudgetExhausted, "RESOURCE_EXHAUSTED"))

    waits_seconds = [await made.poll(15) for _ in range(2 if dry else 1)]

    assert waits_seconds[-1] == LONGEST_WAIT_SECONDS


@pytest.mark.no_cover
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


async def test_what_a_wrong_clock_stamped_does_not_stand_against_later_answers() -> None:
    now = datetime.now(UTC).timestamp()
    wall = [now + 45 * 86_400]
    made, polls, _, metrics = poller(
        lambda: answer(category="A"),
        lambda: answer(category="B"),
        answer,
        clock=Clock(wall=lambda: wall[0], monotonic=iter(range(0, 10_000, 100)).__next__),
    )
    await made.poll(15)
    await made.poll(15)
    changed_then = polls[-1].category.changed_at
    wall[0] = now

    for _ in range(5):
        await made.poll(15)

    assert changed_then.timestamp() > now + 40 * 86_400
    assert polls[-1].answered
    assert abs(polls[-1].polled_at.timestamp() - now) < 1_000
    assert abs(polls[-1].result.observed_at.timestamp() - now) < 1_000
    assert abs(polls[-1].category.changed_at.timestamp() - now) < 1_000
    assert value(metrics, defects("time_going_back")) is None


# Reads


def tokens(made: Poller) -> dict[str, int]:
    assert made.view is not None
    return {policy: visible.observation.bucket.available_tokens for policy, visible in made.view.buckets.items()}


async def test_a_read_is_shown_and_published_as_a_poll_of_its_bucket() -> None:
    made, polls, client, metrics = poller(answer_with_keys)
    await made.poll(15)

    await made.read("KEYS_CHECK", 5.0)

    assert client.reads == [(PARTICIPANT, "KEYS_CHECK", 5.0)]
    assert [(poll.sequence, poll.is_read, poll.interval_seconds) for poll in polls] == [(1, False, 15), (2, True, 15)]
    assert [o.bucket.policy for o in polls[1].result.buckets] == ["KEYS_CHECK"]
    assert (polls[1].result.category, polls[1].last_success_at) == ("A", polls[0].last_success_at)
    assert tokens(made) == {"ENTRIES_WRITE": 30_000, "KEYS_CHECK": 5, "POLICIES_LIST": 20, "POLICIES_READ": 200}
    assert value(metrics, f'dict_rate_limit_available_tokens{{participant="{PARTICIPANT}",policy="KEYS_CHECK"}}') == 5
    assert value(metrics, f'dict_rate_limit_reads_total{{participant="{PARTICIPANT}"}}') == 1
    assert value(metrics, 'dict_rate_limit_monitoring_duration_seconds_count{operation="poll"}') == 1


def read_failure(code: str) -> str:
    return f'dict_rate_limit_poll_errors_total{{code="{code}",participant="{PARTICIPANT}"}}'


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (BridgeUnavailable, "DEADLINE_EXCEEDED"),
        (BridgeBudgetExhausted, "RESOURCE_EXHAUSTED"),
        (BridgeRefused, "UNIMPLEMENTED"),
        (BridgeRefused, "NOT_FOUND"),
        (BridgeError, "INTERNAL"),
    ],
)
async def test_a_read_that_fails_is_counted_and_changes_nothing_else(kind, code) -> None:
    made, polls, client, metrics = poller(answer_with_keys)
    client.read_outcomes = [failing(kind, code)]
    await made.poll(15)
    before = made.view

    await made.read("KEYS_CHECK", 5.0)

    assert len(polls) == 1
    assert made.view is before
    assert value(metrics, read_failure(code)) == 1


async def test_an_answer_to_a_read_that_goes_back_in_time_is_a_defect_and_changes_nothing_else() -> None:
    made, polls, client, metrics = poller(lambda: answer_with_keys(ahead_seconds=10))
    client.read_outcomes = [read_answer(ahead_seconds=1)]
    await made.poll(15)

    await made.read("KEYS_CHECK", 5.0)

    assert len(polls) == 1
    assert value(metrics, defects("time_going_back")) == 1
    assert value(metrics, read_failure("BAD_ANSWER")) == 1


async def test_an_answer_to_a_read_that_goes_back_behind_one_that_showed_nothing_new_is_a_defect() -> None:
    made, polls, client, metrics = poller(answer_with_keys)
    client.read_outcomes = [read_answer(available=70, ahead_seconds=3), read_answer(ahead_seconds=1)]
    await made.poll(15)

    await made.read("KEYS_CHECK", 5.0)
    await made.read("KEYS_CHECK", 5.0)

    assert len(polls) == 2
    assert value(metrics, defects("time_going_back")) == 1


@pytest.mark.parametrize("available", [5, 70])
async def test_an_answer_that_a_read_has_overtaken_leaves_its_bucket_as_it_was_read(available) -> None:
    made, polls, client, _ = poller(answer_with_keys, lambda: answer_with_keys(available=9, ahead_seconds=5))
    client.read_outcomes = [read_answer(available=available, ahead_seconds=10)]
    await made.poll(15)
    await made.read("KEYS_CHECK", 5.0)

    await made.poll(15)

    assert tokens(made)["KEYS_CHECK"] == available
    assert [poll.answered for poll in polls] == [True, True, True]


@pytest.mark.parametrize("available", [5, 70])
async def test_an_answer_to_a_read_that_comes_again_is_no_poll(available) -> None:
    made, polls, client, _ = poller(answer_with_keys)
    client.read_outcomes = [read_answer(available=available)]
    await made.poll(15)

    await made.read("KEYS_CHECK", 5.0)
    await made.read("KEYS_CHECK", 5.0)

    assert len(polls) == 2


async def test_the_same_defect_of_polls_and_of_reads_is_told_once_each(caplog) -> None:
    made, _, client, _ = poller(lambda: answer_with_keys(ahead_seconds=400))
    client.read_outcomes = [lambda: read_answer(ahead_seconds=400)]

    for _ in range(3):
        await made.poll(15)
        await made.read("KEYS_CHECK", 5.0)

    assert len([record for record in caplog.records if record.getMessage() == "defect in the Bridge's answer"]) == 2


async def test_where_the_settings_want_no_reads_there_are_none() -> None:
    made, _, client, metrics = poller(answer_with_keys, reads=ReadsSettings(share=0))
    await made.poll(15)
    now = datetime.now(UTC).timestamp()

    assert made.next_read(now, now + 15) is None
    await made.read("KEYS_CHECK", 5.0)

    assert client.reads == []
    assert value(metrics, f'dict_rate_limit_reads_total{{participant="{PARTICIPANT}"}}') is None


async def test_while_polls_fail_nothing_is_read() -> None:
    made, _, _, _ = poller(answer_with_keys, failing(BridgeUnavailable, "UNAVAILABLE"), answer_with_keys)
    planned = []
    for _ in range(3):
        await made.poll(15)
        now = datetime.now(UTC).timestamp()
        planned.append(made.next_read(now, now + 15))

    assert [read is not None for read in planned] == [True, False, True]


READS_OFF = "dict_rate_limit_reads_off{"


def read_answer_now() -> GetRateLimitPolicyResponse:
    return read_answer(available=70, ahead_seconds=asyncio.get_running_loop().time())


def run_reading(seconds: float, *reads, interval: float = 15) -> tuple[ScriptedClient, Poller, Metrics]:
    """Lets a poller run for so many seconds of virtual time, its own clock included."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        began = datetime.now(UTC).timestamp()
        made, _, client, metrics = poller(
            lambda: answer_with_keys(ahead_seconds=loop.time()),
            interval=interval,
            clock=Clock(lambda: began + loop.time(), loop.time),
        )
        client.read_outcomes = list(reads) or [read_answer_now]

        async def for_a_while() -> None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(made.run(), seconds)

        runner.run(for_a_while())
    return client, made, metrics


def test_run_reads_between_polls_which_keep_their_cadence() -> None:
    client, _, _ = run_reading(100)

    first = client.asked_at[0]
    assert since_the_first(client, 6) == pytest.approx([0, 15, 30, 45, 60, 75])
    assert [at - first for at in client.read_at[:4]] == pytest.approx([7.25, 22.25, 37.25, 52.25])
    assert {policy for _, policy, _ in client.reads} == {"KEYS_CHECK"}


def test_a_read_ends_before_the_next_poll_is_due() -> None:
    client, _, _ = run_reading(100)

    assert [limit for _, _, limit in client.reads] == pytest.approx([7.75] * len(client.reads))


def test_a_bridge_that_refuses_reads_is_asked_again_after_an_hour_and_told_once(caplog) -> None:
    client, _, metrics = run_reading(7_500, failing(BridgeRefused, "UNIMPLEMENTED"))

    assert [at - client.read_at[0] for at in client.read_at] == pytest.approx([0, 3_600, 7_200], abs=30)
    assert logged(caplog, "code") == [("single buckets are not read between polls", "UNIMPLEMENTED")]
    off = f'dict_rate_limit_reads_off{{code="UNIMPLEMENTED",participant="{PARTICIPANT}"}}'
    assert value(metrics, off) == 1


async def test_what_is_in_the_way_of_reads_comes_before_a_refusal_and_does_not_end_it() -> None:
    made, _, client, metrics = poller(answer_with_keys, answer, answer_with_keys)
    client.read_outcomes = [failing(BridgeRefused, "UNIMPLEMENTED")]
    off = []
    await made.poll(15)
    await made.read("KEYS_CHECK", 5.0)
    for _ in range(2):
        await made.poll(15)
        off.append([line for line in metrics.exposition().decode().splitlines() if line.startswith(READS_OFF)])

    assert off == [
        [f'{READS_OFF}code="NO_POLICIES_READ",participant="{PARTICIPANT}"}} 1.0'],
        [f'{READS_OFF}code="UNIMPLEMENTED",participant="{PARTICIPANT}"}} 1.0'],
    ]


def test_a_bridge_that_answers_reads_again_is_read_again_and_that_is_told(caplog) -> None:
    caplog.set_level("INFO")
    client, _, metrics = run_reading(3_700, failing(BridgeRefused, "UNIMPLEMENTED"), read_answer_now)

    assert len(client.reads) > 2
    assert "single buckets are read again between polls" in [record.getMessage() for record in caplog.records]
    assert b"dict_rate_limit_reads_off{" not in metrics.exposition()


def test_a_policy_that_the_bridge_does_not_know_is_not_read_for_an_hour() -> None:
    client, _, metrics = run_reading(3_700, failing(BridgeRefused, "NOT_FOUND"))

    assert [at - client.read_at[0] for at in client.read_at] == pytest.approx([0, 3_600], abs=15)
    assert b"dict_rate_limit_reads_off{" not in metrics.exposition()


@pytest.mark.parametrize(
    "failure", [failing(BridgeUnavailable, "UNAVAILABLE"), failing(BridgeBudgetExhausted, "RESOURCE_EXHAUSTED")]
)
def test_after_a_read_that_failed_there_is_none_before_the_next_poll(failure) -> None:
    client, _, _ = run_reading(100, failure)

    assert len(client.reads) <= len(client.asked)


@pytest.mark.parametrize("reads", [False, True])
async def test_the_lowest_level_is_one_that_the_bucket_had_and_no_429_is_without_one(reads) -> None:
    simulation = Simulation("spikes", reads=reads)
    polls = await simulation.run(600)
    truth = World(scenarios.load("spikes"), ispbs(1), 1, BEGAN)
    had: list[tuple[datetime, int]] = []
    refused, proven = 0, 0
    for poll in polls:
        assert isinstance(poll.result, Observation)
        observed_at = poll.result.observed_at
        for seen in (seen for seen in poll.result.buckets if seen.bucket.policy == "KEYS_CHECK"):
            tick = had[-1][0] if had else BEGAN
            while tick < observed_at:
                tick = min(tick + timedelta(milliseconds=100), observed_at)
                account = truth.accounts(ispbs(1)[0], tick)[seen.bucket.policy]
                had.append((tick, account.bucket.available((tick - BEGAN).total_seconds())))
            since = observed_at - timedelta(seconds=60.2 + 15)  # an answer tells of 429s since the one before
            least = min([tokens for at, tokens in had if at > since], default=70)
            assert least <= seen.lowest_available_tokens <= seen.bucket.available_tokens
            counted = seen.bucket.response_counts.rate_limited
            if counted > refused:
                assert seen.lowest_available_tokens == 0
                proven += seen.bucket.available_tokens > 0
            refused = counted

    assert refused > 50
    assert proven > 2  # dry moments that no answer showed

"""One leads, others wait; whoever cannot ask the database polls."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from exporter.errors import DatabaseUnavailable, LeaseLost, SchemaMismatch
from exporter.metrics import Metrics
from exporter.reconciler.leadership import Leadership, LeadershipState
from exporter.store.lease import Fence
from tests.support.conditions import until
from tests.support.logs import logged


class StandInLease:
    """Gives each answer (an epoch) in turn to those who acquire, the last again and again."""

    ttl_seconds = 8.0
    leader: str | None = "other:1"

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.renewals: list[Exception | None] = []
        self.asked = 0
        self.released = 0

    async def acquire(self) -> Fence | None:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return None if answer is None else Fence(None, holder="this", epoch=answer, commits={}, at=datetime.now(UTC))

    async def renew(self) -> None:
        outcome = self.renewals.pop(0) if self.renewals else None
        if outcome is not None:
            raise outcome

    async def release(self) -> None:
        self.released += 1


class StandInPolling:
    def __init__(self) -> None:
        self.running = False

    def start(self) -> None:
        self.running = True

    async def stop(self) -> None:
        self.running = False


class Led:
    """A leadership that runs, with what it did."""

    def __init__(self, lease: StandInLease, *, check=None, work=None, stand_by=None) -> None:
        self.lease = lease
        self.polling = StandInPolling()
        self.epochs: list[int] = []
        self.resets = 0
        self.waits = 0
        self.metrics = Metrics()
        self._check = check
        self._work = work
        self._stand_by = stand_by
        self.leadership = Leadership(
            lease,
            self,
            metrics=self.metrics.reconciler,
            renew_seconds=0.01,
            retry_seconds=0.01,
        )

    async def check_schema(self) -> None:
        if self._check is not None:
            await self._check()

    async def lead(self, fence: Fence) -> None:
        if self._work is not None:
            await self._work(fence)
            return
        self.epochs.append(fence.epoch)
        await asyncio.Event().wait()

    def reset(self) -> None:
        self.resets += 1

    async def stand_by(self) -> None:
        self.waits += 1
        if self._stand_by is not None:
            await self._stand_by()

    async def until(self, condition) -> None:
        """Runs until ``condition`` holds, and a little of the loop longer; then stops."""
        task = asyncio.create_task(self.leadership.run(self.polling))
        try:
            async with asyncio.timeout(30):
                while not condition():
                    if task.done():
                        task.result()
                    await asyncio.sleep(0.001)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_whoever_gets_the_lease_works_and_polls_and_gives_it_back() -> None:
    led = Led(StandInLease(7))

    await led.until(lambda: led.epochs)

    assert led.epochs == [7]
    assert led.polling.running
    assert led.lease.released == 1


async def test_whoever_waits_neither_works_nor_polls() -> None:
    led = Led(StandInLease(None))
    led.polling.running = True

    await led.until(lambda: led.waits > 1)

    assert led.leadership.state is LeadershipState.WAITING
    assert not led.epochs
    assert not led.polling.running


async def test_whoever_cannot_ask_how_far_the_other_is_polls() -> None:
    async def wait() -> None:
        raise DatabaseUnavailable("away")

    led = Led(StandInLease(None), stand_by=wait)

    await led.until(lambda: led.leadership.state is LeadershipState.DATABASE_UNUSABLE)

    assert led.polling.running


async def test_whoever_cannot_reach_the_database_polls() -> None:
    led = Led(StandInLease(DatabaseUnavailable("away")))

    await led.until(lambda: led.leadership.state is LeadershipState.DATABASE_UNUSABLE)

    assert led.polling.running
    assert not led.epochs


async def test_a_schema_of_another_version_is_waited_for() -> None:
    answers = [SchemaMismatch("run migrate up")]

    async def check() -> None:
        if answers:
            raise answers.pop()

    led = Led(StandInLease(1), check=check)

    await led.until(lambda: led.epochs)

    assert led.leadership.state is LeadershipState.LEADING


async def test_whoever_lost_the_lease_stops_working_and_asks_again() -> None:
    lease = StandInLease(1, None, 3)
    lease.renewals = [None, LeaseLost("taken")]
    led = Led(lease)

    await led.until(lambda: len(led.epochs) == 2)

    assert led.epochs == [1, 3]
    assert (led.resets, led.waits) == (1, 1)


async def test_work_that_lost_the_lease_is_no_reason_to_end() -> None:
    lease = StandInLease(1, 2)
    epochs: list[int] = []

    async def work(fence: Fence) -> None:
        epochs.append(fence.epoch)
        if fence.epoch == 1:
            raise LeaseLost("fenced")
        await asyncio.Event().wait()

    led = Led(lease, work=work)

    await led.until(lambda: len(epochs) == 2)

    assert epochs == [1, 2]
    assert led.resets == 1


async def test_a_database_that_is_away_does_not_end_the_lead() -> None:
    lease = StandInLease(1)
    lease.renewals = [DatabaseUnavailable("away")] * 3
    led = Led(lease)

    await led.until(lambda: not lease.renewals)

    assert led.epochs == [1]
    assert led.resets == 0


@pytest.mark.parametrize(("answer", "shown"), [(DatabaseUnavailable("away"), 0), (None, 1)])
async def test_a_process_that_does_not_lead_says_whether_it_can_use_the_database(answer, shown) -> None:
    led = Led(StandInLease(answer))

    await led.until(lambda: led.lease.asked > 1)

    assert led.metrics.registry.get_sample_value("dict_rate_limit_database_up") == shown


async def test_a_lease_that_was_not_renewed_in_its_time_is_not_shown_as_held() -> None:
    lease = StandInLease(1)
    lease.ttl_seconds = 0.05
    led = Led(lease)
    shown: list[tuple[float | None, float | None]] = []

    def look() -> bool:
        value = led.metrics.registry.get_sample_value
        now = value("dict_rate_limit_lease_held"), value("dict_rate_limit_database_up")
        if now not in shown[-1:]:
            shown.append(now)
        if now == (1, 1) and not lease.renewals and len(shown) < 3:
            lease.renewals = [DatabaseUnavailable("away")] * 100
        if now == (0, 0) and len(lease.renewals) > 1:
            lease.renewals = lease.renewals[:1]
        return shown[-2:] == [(0, 0), (1, 1)]

    await led.until(look)

    assert shown[-4:] == [(1, 1), (1, 0), (0, 0), (1, 1)]


async def test_a_leader_whose_database_is_away_says_so_until_it_is_back() -> None:
    lease = StandInLease(1)
    lease.renewals = [DatabaseUnavailable("away")]
    led = Led(lease)
    seen: list[LeadershipState] = []

    def look() -> bool:
        if led.leadership.state not in seen[-1:]:
            seen.append(led.leadership.state)
        return LeadershipState.DATABASE_UNUSABLE in seen and seen[-1] is LeadershipState.LEADING

    await led.until(look)

    assert seen[-3:] == [LeadershipState.LEADING, LeadershipState.DATABASE_UNUSABLE, LeadershipState.LEADING]


async def test_a_lease_that_cannot_be_given_back_in_time_does_not_make_the_end_a_failure() -> None:
    class Frozen(StandInLease):
        async def release(self) -> None:
            raise TimeoutError

    led = Led(Frozen(1))
    task = asyncio.create_task(led.leadership.run())
    await until(lambda: led.epochs)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_lost_lease_is_told_in_its_own_words(caplog) -> None:
    async def lost() -> None:
        raise LeaseLost("another reconciler took it")

    async def work(_fence: Fence) -> None:
        async with asyncio.TaskGroup() as parts:
            parts.create_task(lost())

    led = Led(StandInLease(1, None), work=work)

    await led.until(lambda: led.resets)

    assert ("lease lost", "another reconciler took it") in logged(caplog, "error")


async def test_work_that_fails_ends_the_process() -> None:
    async def work(_fence: Fence) -> None:
        raise RuntimeError("a defect")

    led = Led(StandInLease(1), work=work)

    with pytest.raises(ExceptionGroup):
        await led.until(lambda: False)


async def test_a_process_that_does_not_poll_waits_and_leads_like_any_other() -> None:
    led = Led(StandInLease(DatabaseUnavailable("away"), None, 3))
    led.polling = None

    await led.until(lambda: led.epochs)

    assert led.epochs == [3]
    assert led.waits == 1


async def test_the_lease_is_shown_as_held_while_this_process_leads_and_no_longer() -> None:
    lease = StandInLease(1, None)
    lease.renewals = [None, LeaseLost("taken")]
    led = Led(lease)
    shown: list[float | None] = []

    def look() -> bool:
        held = led.metrics.registry.get_sample_value("dict_rate_limit_lease_held")
        if held not in shown[-1:]:
            shown.append(held)
        return led.waits > 1

    await led.until(look)

    assert shown == [0, 1, 0]


async def test_a_schema_of_another_version_does_not_stop_the_polling() -> None:
    async def check() -> None:
        raise SchemaMismatch("run migrate up")

    led = Led(StandInLease(1), check=check)

    await led.until(lambda: led.leadership.state is LeadershipState.SCHEMA_MISMATCH)

    assert led.polling.running
    assert not led.epochs


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (None, ("waiting", "INFO", "other:1", "", "")),
        (DatabaseUnavailable("away"), ("database unusable", "ERROR", "", "", "away")),
        (SchemaMismatch("run migrate up"), ("schema mismatch", "ERROR", "", "", "run migrate up")),
        (7, ("leading", "INFO", "", 7, "")),
    ],
)
async def test_what_a_process_is_among_its_peers_is_told_once(caplog, answer, line) -> None:
    caplog.set_level("INFO", "exporter.reconciler.leadership")
    lease = StandInLease(answer)
    lease.renewals = [None] * 3
    led = Led(lease)

    await led.until(lambda: lease.asked > 3 or not lease.renewals)

    assert logged(caplog, "levelname", "leader", "epoch", "error") == [line]

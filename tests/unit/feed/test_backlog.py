"""Nothing younger than the bound is lost, and what is dropped is a gap."""

from __future__ import annotations

import asyncio
import zlib
from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.buckets.catalog import POLICIES
from exporter.feed.backlog import Backlog, Stream
from exporter.feed.stubs import feed_pb2
from exporter.feed.wire import poll_of
from tests.support.builders import at, bucket, failed, poll

if TYPE_CHECKING:
    from exporter.buckets.observation import Poll

OTHER = "87654321"


def backlog_of(*polls: Poll, keep_seconds: float = 60) -> Backlog:
    backlog = Backlog(keep_seconds)
    for made in polls:
        backlog.put(made)
    return backlog


def sequences(backlog: Backlog, after: int = 0) -> list[int]:
    return [sequence for sequence, _, _ in backlog.after(after)]


def received(backlog: Backlog) -> list[Poll]:
    messages = [
        feed_pb2.FromExporter.FromString(backlog.deflation.inflated(deflated)) for _, _, deflated in backlog.after(-1)
    ]
    return [poll_of(message.poll, "stream") for message in messages]


def test_an_empty_backlog_has_no_polls_and_no_gap() -> None:
    backlog = backlog_of()

    assert backlog.after(0) == []
    assert backlog.gap_after(0) is None


@pytest.mark.parametrize(("after", "expected"), [(0, [1, 2, 3]), (1, [2, 3]), (2, [3]), (3, []), (4, [])])
def test_a_follower_gets_the_polls_after_the_one_it_names_in_order(after: int, expected: list[int]) -> None:
    backlog = backlog_of(poll(seconds=0), poll(seconds=15), poll(seconds=30))

    assert sequences(backlog, after) == expected


def test_each_poll_is_named_with_its_participant() -> None:
    backlog = backlog_of(poll(sequence=1), poll(sequence=2, participant=OTHER))

    assert [participant for _, participant, _ in backlog.after(0)] == ["12345678", OTHER]


@pytest.mark.parametrize(("newest", "expected"), [(59.999999, [1, 2]), (60, [1, 2]), (60.000001, [2])])
def test_a_poll_is_kept_until_it_is_older_than_the_bound(newest: float, expected: list[int]) -> None:
    backlog = backlog_of(poll(seconds=0, sequence=1), poll(seconds=newest, sequence=2), keep_seconds=60)

    assert sequences(backlog) == expected


def test_after_a_long_silence_only_the_newest_poll_is_kept() -> None:
    backlog = backlog_of(poll(seconds=0), poll(seconds=15), poll(seconds=30), poll(seconds=9000, sequence=4))

    assert sequences(backlog) == [4]
    assert backlog.gap_after(0) == (1, 3)


def test_the_newest_poll_is_kept_whatever_the_bound() -> None:
    backlog = backlog_of(poll(seconds=0), poll(seconds=15), keep_seconds=0)

    assert sequences(backlog) == [2]


@pytest.mark.parametrize(("after", "gap"), [(0, (1, 2)), (1, (2, 2)), (2, None), (3, None), (4, None)])
def test_a_gap_names_what_is_dropped_and_not_yet_followed(after: int, gap: tuple[int, int] | None) -> None:
    backlog = backlog_of(poll(seconds=0), poll(seconds=15), poll(seconds=80, sequence=3), keep_seconds=60)

    assert backlog.gap_after(after) == gap


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20), st.integers(0, 100))
def test_every_follower_gets_each_poll_or_a_gap_that_holds_it(waits: list[int], keep_seconds: int) -> None:
    seconds = [sum(waits[: n + 1]) for n in range(len(waits))]
    backlog = backlog_of(*(poll(seconds=s, sequence=n) for n, s in enumerate(seconds, 1)), keep_seconds=keep_seconds)
    young = [n for n, s in enumerate(seconds, 1) if seconds[-1] - s <= keep_seconds]

    for followed in range(len(seconds) + 1):
        gap = backlog.gap_after(followed)
        missed = list(range(gap[0], gap[1] + 1)) if gap else []
        sent = sequences(backlog, gap[1] if gap else followed)

        assert missed + sent == list(range(followed + 1, len(seconds) + 1))
        assert sent == [n for n in young if n > followed]


@pytest.mark.parametrize("answered", list(product((True, False), repeat=4)))
def test_polls_come_out_as_they_were_put_in(answered: tuple[bool, ...]) -> None:
    polls = [poll(bucket(n), seconds=n) if is_so else failed(n) for n, is_so in enumerate(answered)]

    assert received(backlog_of(*polls)) == polls


def test_a_poll_like_the_first_answer_is_kept_in_half_of_what_it_takes_alone() -> None:
    buckets = [bucket(1_000 + n, policy=name) for n, name in enumerate(POLICIES)]
    backlog = backlog_of(failed(0), poll(*buckets, seconds=15), failed(30), poll(*buckets, seconds=45))

    *_, (_, _, kept) = backlog.after(0)

    assert len(kept) < len(zlib.compress(backlog.deflation.inflated(kept), 1)) / 2


async def test_every_follower_that_waits_hears_of_a_poll() -> None:
    backlog = backlog_of()
    waiting = [asyncio.create_task(backlog.wait(5)) for _ in range(2)]
    await asyncio.sleep(0)

    backlog.put(poll())

    assert await asyncio.gather(*waiting) == [True, True]


async def test_a_follower_waits_for_the_next_poll_not_for_the_last() -> None:
    backlog = backlog_of(poll())

    assert not await backlog.wait(0)


def test_a_stream_numbers_its_polls_from_one_and_each_start_is_another_stream() -> None:
    first, second = Stream(), Stream()

    assert [first.next_sequence() for _ in range(3)] == [1, 2, 3]
    assert second.next_sequence() == 1
    assert first.stream_id != second.stream_id


def test_every_listener_of_a_stream_hears_every_poll_in_order() -> None:
    heard: list[tuple[str, float]] = []
    stream = Stream(*(lambda made, who=who: heard.append((who, (made.polled_at - at(0)).seconds)) for who in "ab"))

    stream.publish(poll(seconds=0))
    stream.publish(poll(seconds=15))

    assert heard == [("a", 0), ("b", 0), ("a", 15), ("b", 15)]

"""Dips that only reads see."""

from __future__ import annotations

from exporter.buckets.observation import Poll, view_after
from exporter.demo.dips import DipWatch
from tests.support.builders import bucket, failed, poll, read


def dips(*polls: Poll, looks: int = 1) -> list[tuple[str, int]]:
    """What is told of views after these polls, at each of which the watch looks so often."""
    watch, view, told = DipWatch(), None, []
    for one in polls:
        view = view_after(view, one)
        for _ in range(looks):
            told += [(dip.policy, dip.available_tokens) for dip in watch.follow(view)]
    return told


def whole(seconds: float, tokens: int) -> Poll:
    return poll(bucket(tokens, capacity=100), bucket(50, policy="OTHER", capacity=100), seconds=seconds)


def looked(seconds: float, tokens: int) -> Poll:
    return read(bucket(tokens, capacity=100), seconds=seconds, sequence=int(seconds))


def test_a_bucket_that_two_polls_show_well_is_told_as_low_as_reads_saw_it() -> None:
    polls = whole(0, 90), looked(4, 15), looked(5, 12), looked(6, 18), whole(15, 60), whole(30, 90)

    assert dips(*polls) == [("ENTRIES_WRITE", 12)]
    assert dips(*polls, looks=3) == [("ENTRIES_WRITE", 12)]


def test_a_dip_that_either_poll_shows_is_none_of_reads_alone() -> None:
    assert dips(whole(0, 20), looked(4, 15), whole(15, 60)) == []
    assert dips(whole(0, 90), looked(4, 15), whole(15, 20), whole(30, 90)) == []


def test_a_read_that_finds_a_bucket_well_says_nothing() -> None:
    assert dips(whole(0, 90), looked(4, 21), whole(15, 60)) == []


def test_a_poll_that_failed_says_nothing_of_the_bucket() -> None:
    assert dips(whole(0, 90), looked(4, 15), looked(9, 40), failed(15), whole(30, 90)) == []

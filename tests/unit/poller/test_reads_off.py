"""What is told of reads that are off: for each participant on `/metrics`, once for all of them in the log."""

from __future__ import annotations

import pytest

from exporter.buckets.bucket import Ispb
from exporter.metrics import Metrics
from exporter.poller.reads import NO_POLICIES_READ, RESERVE_TOO_LARGE
from exporter.poller.reads_off import ReadsOff

FIRST, SECOND = Ispb("12345678"), Ispb("87654321")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def off(metrics: Metrics) -> ReadsOff:
    return ReadsOff(metrics.polls.reads_off)


def lines(metrics: Metrics) -> set[str]:
    text = metrics.exposition().decode()
    return {line for line in text.splitlines() if line.startswith("dict_rate_limit_reads_off{")}


def test_each_participant_is_on_metrics_and_the_log_has_one_line(off, metrics, caplog) -> None:
    for participant in (FIRST, SECOND, FIRST):
        off.set(participant, "UNIMPLEMENTED", "no such method")

    assert lines(metrics) == {
        f'dict_rate_limit_reads_off{{code="UNIMPLEMENTED",participant="{participant}"}} 1.0'
        for participant in (FIRST, SECOND)
    }
    assert [(record.getMessage(), record.error) for record in caplog.records] == [
        ("single buckets are not read between polls", "no such method")
    ]


def test_what_comes_and_goes_is_not_told_each_time(off, caplog) -> None:
    caplog.set_level("INFO")
    for _ in range(5):
        off.set(FIRST, NO_POLICIES_READ)
        off.set(FIRST, None)

    assert [record.getMessage() for record in caplog.records] == [
        "single buckets are not read between polls",
        "single buckets are read again between polls",
    ]


def test_another_reason_is_another_line(off, metrics, caplog) -> None:
    off.set(FIRST, "UNIMPLEMENTED")
    off.set(FIRST, "PERMISSION_DENIED")

    assert lines(metrics) == {f'dict_rate_limit_reads_off{{code="PERMISSION_DENIED",participant="{FIRST}"}} 1.0'}
    assert len(caplog.records) == 2


def test_that_reads_are_on_again_is_told_once_all_are(off, metrics, caplog) -> None:
    caplog.set_level("INFO")
    off.set(FIRST, "UNIMPLEMENTED")
    off.set(SECOND, "UNIMPLEMENTED")

    off.set(FIRST, None)
    assert len(caplog.records) == 1
    off.set(SECOND, None)

    assert caplog.records[-1].getMessage() == "single buckets are read again between polls"
    assert lines(metrics) == set()
    assert off.why is None


@pytest.mark.parametrize(
    ("codes", "why"),
    [
        (["UNIMPLEMENTED", "UNIMPLEMENTED"], "the Bridge refuses them: UNIMPLEMENTED"),
        (
            [NO_POLICIES_READ, "UNIMPLEMENTED"],
            "the Bridge refuses them: UNIMPLEMENTED; the Bridge's answers hold no POLICIES_READ, which pays for reads",
        ),
        ([RESERVE_TOO_LARGE, None], "poll.reads.reserve leaves nothing of POLICIES_READ"),
    ],
)
def test_it_says_why(off, codes, why) -> None:
    for participant, code in zip((FIRST, SECOND), codes, strict=True):
        off.set(participant, code)

    assert off.why == why


def test_what_is_no_longer_polled_is_not_off(off, metrics) -> None:
    off.set(FIRST, "UNIMPLEMENTED")

    off.clear()

    assert (off.why, lines(metrics)) == (None, set())

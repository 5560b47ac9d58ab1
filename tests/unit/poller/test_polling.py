"""What is said of all participants of a process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from exporter.config.settings import PollSettings, ReadsSettings, Settings
from exporter.feed.backlog import Stream
from exporter.metrics import Metrics
from exporter.poller.polling import Polling
from exporter.service import _bridge_dependency
from tests.support.builders import poll, view

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporter.bridge.client import BridgeClient

MINE, THEIRS = "12345678", "87654321"


class SilentClient:
    """A Bridge that is never done."""

    async def fetch(self, *_: object, **__: object) -> None:
        await asyncio.Event().wait()


@pytest.fixture
async def polling(request) -> AsyncIterator[Polling]:
    """Polls two participants, with the reads that the test says."""
    settings = Settings(participants=(MINE, THEIRS), poll=PollSettings(reads=request.param))
    made = Polling(settings, Metrics(), cast("BridgeClient", SilentClient()), Stream)
    made.start()
    for participant, poller in made.pollers.items():
        poller.view = view(poll(participant=participant))
    yield made
    await made.stop()


def said(polling: Polling) -> tuple[bool, str]:
    found = _bridge_dependency(polling)
    return found.ok, found.message


@pytest.mark.parametrize("polling", [ReadsSettings()], indirect=True)
async def test_of_reads_nothing_is_said_while_they_are_made(polling) -> None:
    assert polling.reads_off is None
    assert said(polling) == (True, "2 of 2 participants answered")


@pytest.mark.parametrize("polling", [ReadsSettings()], indirect=True)
async def test_that_the_bridge_refuses_reads_is_said_beside_how_it_is(polling) -> None:
    for participant in (MINE, THEIRS):
        polling._reads_off.set(participant, "UNIMPLEMENTED")

    assert said(polling) == (
        True,
        "2 of 2 participants answered; no reads between polls: the Bridge refuses them: UNIMPLEMENTED",
    )


@pytest.mark.parametrize("polling", [ReadsSettings()], indirect=True)
async def test_that_reads_of_some_are_off_says_of_how_many(polling) -> None:
    polling._reads_off.set(MINE, "UNIMPLEMENTED")

    assert said(polling)[1].endswith(
        "no reads between polls: the Bridge refuses them: UNIMPLEMENTED (1 of 2 participants)"
    )


@pytest.mark.parametrize("polling", [ReadsSettings(share=0)], indirect=True)
async def test_that_the_settings_want_no_reads_is_said_beside_how_the_bridge_is(polling) -> None:
    assert said(polling) == (True, "2 of 2 participants answered; no reads between polls: poll.reads.share is 0")

"""What the end-to-end tests start: the program, a Bridge, consumers."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.consumer import Consumer
from tests.support.program import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """Starts a `Program` or `Bridge`, which ends with the test."""
    with programs() as begin:
        yield begin


@pytest.fixture
def consume() -> Iterator[Callable[[str, str], Consumer]]:
    """Starts a `Consumer` of a broker's topic, which ends with the test."""
    with ExitStack() as stack:

        def begin(url: str, topic: str) -> Consumer:
            consumer = Consumer(url, topic)
            stack.callback(consumer.close)
            return consumer

        yield begin

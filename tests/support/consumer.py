"""A consumer of the events, as others would write it."""

from __future__ import annotations

import json
import threading
from typing import Any

import pulsar

from tests.support.topic import client


class Consumer:
    """Reads a topic from its beginning, in a thread. ``events`` are ``(properties, body, partition key)``.

    A message that the broker delivers again (it died before it had kept the
    acknowledgement) is the same message: it counts once. One that was sent twice is two.
    """

    def __init__(self, url: str, topic: str) -> None:
        self.events: list[tuple[dict[str, str], dict[str, Any], str]] = []
        self._client = client(url, operation_timeout_seconds=60)
        self._consumer = self._client.subscribe(topic, "test", initial_position=pulsar.InitialPosition.Earliest)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        delivered: set[str] = set()
        while not self._stop.is_set():
            try:
                message = self._consumer.receive(200)
            except pulsar.Timeout:
                continue
            if str(message.message_id()) not in delivered:
                self.events.append((message.properties(), json.loads(message.data()), message.partition_key()))
            delivered.add(str(message.message_id()))
            self._consumer.acknowledge(message)

    @property
    def ids(self) -> list[str]:
        """The events' ids, in order of arrival, repeats included."""
        return [body["event_id"] for _, body, _ in self.events]

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)
        self._client.close()

"""What has arrived at a topic."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulsar

if TYPE_CHECKING:
    from collections.abc import Mapping

_MARK = "the end of the test"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message; ``body`` is its JSON."""

    body: Mapping[str, Any]
    key: str
    properties: Mapping[str, str]
    producer: str

    @property
    def event_id(self) -> str:
        return self.properties["ce_id"]


def client(url: str, **options: Any) -> pulsar.Client:
    """Returns a client that says nothing."""
    return pulsar.Client(url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull), **options)


def subscribe(url: str, topic: str, **options: Any) -> None:
    """Makes a subscription, so that the broker keeps what comes."""
    made = client(url, **options)
    made.subscribe(topic, "keeper", initial_position=pulsar.InitialPosition.Earliest)
    made.close()


def arrived(url: str, topic: str, **options: Any) -> list[Arrived]:
    """Returns everything that has arrived at ``topic`` so far, in order.

    Nothing is waited for: a mark is sent, and all before it is returned.
    """
    made, mark = client(url, **options), str(next(_numbers))
    try:
        consumer = made.subscribe(topic, f"look-{mark}", initial_position=pulsar.InitialPosition.Earliest)
        made.create_producer(topic).send(b"", properties={_MARK: mark})
        found = []
        while True:
            message = consumer.receive(30_000)
            consumer.acknowledge(message)
            if _MARK not in message.properties():
                found.append(_arrived(message))
            elif message.properties()[_MARK] == mark:
                return found
    finally:
        made.close()


def _arrived(message: pulsar.Message) -> Arrived:
    return Arrived(_json(message.data()), message.partition_key(), message.properties(), message.producer_name())


def _json(data: bytes) -> Mapping[str, Any]:
    try:
        found: dict[str, Any] = json.loads(data)
    except ValueError:
        return {}
    return found

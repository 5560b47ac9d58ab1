"""The relay and a broker that asks who is there."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

import pytest

from exporter.config.secrets import Secret, SecretFile
from exporter.config.settings import PulsarTlsSettings
from exporter.durations import Backoff, Duration
from exporter.relay.relay import Timing
from tests.support.conditions import until
from tests.support.guarded import Guarded, guarded_pulsar, signed_token
from tests.support.relaying import Stage, staged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.postgres, pytest.mark.broker, pytest.mark.pulsar]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded_pulsar(tmp_path_factory.mktemp("tls")) as lent:
        yield lent


@pytest.fixture
async def stage(database_dsn: str) -> AsyncIterator[Stage]:
    async with staged(database_dsn) as made:
        yield made


async def test_events_arrive_over_tls_with_a_token(stage: Stage, guarded: Guarded) -> None:
    topic = guarded.server.topic()
    guarded.permit(topic, "relay")
    stage.write(1, 2, 3)

    tls, token = PulsarTlsSettings(ca_file=guarded.authority.ca_file), Secret(guarded.token("relay"))
    async with stage.relaying(guarded.tls_url, topic, token=token, tls=tls):
        await stage.until_all_published()

    assert guarded.arrived(topic) == [1, 2, 3]


async def test_a_renewed_token_is_shown_without_a_restart(stage: Stage, guarded: Guarded, tmp_path: Path) -> None:
    topic, file = guarded.server.topic(), tmp_path / "token"
    guarded.permit(topic, "relay")
    expires = time.time() + 5
    file.write_text(signed_token(guarded.key, "relay", expires=expires))
    secret = SecretFile("TOKEN_FILE", str(file), stable_seconds=0)
    stage.write(1)

    async with stage.relaying(guarded.server.url, topic, token=Secret(secret.text(), secret)):
        await stage.until_all_published()
        file.write_text(guarded.token("relay"))
        await until(lambda: time.time() > expires + 2)
        stage.write(2)
        await stage.until_all_published()

    assert guarded.arrived(topic) == [1, 2]


async def test_a_token_that_the_broker_refuses_is_reported_and_never_shown(
    stage: Stage, guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    topic, wrong = guarded.server.topic(), signed_token(os.urandom(32), "relay")
    stage.write(1)

    async with stage.relaying(guarded.server.url, topic, token=Secret(wrong), operation_timeout=Duration(1)) as made:
        await until(lambda: "refuses pulsar.token" in (made.message or ""))

    assert len(stage.rows("pending")) == 1
    assert wrong not in caplog.text
    assert wrong not in repr(made.message)


async def test_a_role_that_may_not_produce_is_reported_once_until_it_may(
    stage: Stage, guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    topic, often = guarded.server.topic(), Timing(backoff=Backoff(0.05, 0.05))
    stage.write(1)

    async with stage.relaying(guarded.server.url, topic, timing=often, token=Secret(guarded.token("newcomer"))) as made:
        await until(lambda: "not authorized" in (made.message or ""))
        await until(lambda: made._failures > 5)
        assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1
        guarded.permit(topic, "newcomer")
        await stage.until_all_published()
        assert made.message is None

    assert guarded.arrived(topic) == [1]


async def test_a_certificate_of_a_strange_authority_is_reported(stage: Stage, guarded: Guarded) -> None:
    topic = guarded.server.topic()
    tls = PulsarTlsSettings(ca_file=guarded.stranger.ca_file)

    async with stage.relaying(guarded.tls_url, topic, token=Secret("t"), tls=tls) as made:
        await until(lambda: "certificate verify failed" in (made.message or ""))

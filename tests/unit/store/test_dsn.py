"""The DSN: forms that libpq takes, and those that people bring from elsewhere."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import DatabaseSettings, Secret
from exporter.errors import ConfigurationError
from exporter.store.database import configured_dsn


def configured(dsn: str) -> str:
    return configured_dsn(DatabaseSettings(dsn=Secret(dsn)))


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://user:p%40ss@host:5432/database",
        "postgres://host/database?sslmode=verify-full",
        "postgresql://one:5432,two:5433/database",
        "postgresql://one,two:5433/database",
        "postgresql://[::1]:5432/database",
        "postgresql:///database?host=/run/postgresql",
        "host=one,two port=5432 dbname=database",
        "host=one hostaddr=10.0.0.1 port=5432",
        "service=dict-rate-limit",
        "dbname=database",
    ],
)
def test_what_libpq_takes_is_let_through(dsn: str) -> None:
    assert configured(dsn) == dsn


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("mysql://user:hush@host/database", "begins with mysql://; write postgresql://user:password@host:5432/"),
        ("postgresql+psycopg://user:hush@host/d", "begins with postgresql+psycopg://; write postgresql://"),
        ("jdbc:postgresql://host/d?password=hush", "begins with jdbc:postgresql://; write postgresql://"),
        ("POSTGRESQL://user:hush@host/d", "begins with POSTGRESQL://; write postgresql://"),
        (" postgresql://user:hush@host/d", "begins with postgresql://; write postgresql://"),
        ("postgresql://user:hu/sh@host/d", "is neither a postgresql:// URL nor key=value pairs"),
        ("host=\udcff password=hush", "is neither a postgresql:// URL nor key=value pairs"),
        ("hush", "is neither a postgresql:// URL nor key=value pairs"),
        ("host=https://host password=hush", "is neither a postgresql:// URL nor key=value pairs"),
        ("host=host port=५ password=hush", "is neither a postgresql:// URL nor key=value pairs"),
        ("postgresql://user:hush@host:0/d", "has no port from 1 to 65535"),
        ("postgresql://user:hush@host:65536/d", "has no port from 1 to 65535"),
        (f"host=host port={'9' * 5000}", "has no port from 1 to 65535"),
        ("host=one,two port=1,2,3 password=hush", "has 3 ports for 2 hosts; write one for each"),
    ],
)
def test_what_is_no_dsn_is_refused_and_its_password_not_shown(dsn: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^database\.dsn: ") as refused:
        configured(dsn)

    assert said in str(refused.value)
    assert "hush" not in str(refused.value)


@given(st.text() | st.from_regex(r"(postgresql|postgres|mysql)://[a-z:@,/\[\]0-9?=%]*"))
def test_any_text_is_let_through_or_refused(dsn: str) -> None:
    with suppress(ConfigurationError):
        assert configured(dsn) == dsn

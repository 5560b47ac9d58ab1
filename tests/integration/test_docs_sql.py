"""Every SQL statement in the documents runs, as the role that the page says."""

from __future__ import annotations

import re

import psycopg
import pytest

from tests.support.program import ROOT

pytestmark = pytest.mark.postgres

STATEMENTS = [
    pytest.param(statement, id=f"{page.stem}-{number}")
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for number, statement in enumerate(
        statement.strip()
        for block in re.findall(r"^ *```sql\n(.*?)^ *```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        for statement in block.split(";\n")
        if statement.strip()
    )
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_statement_runs(statement, reader_dsn, database_dsn, migrator_dsn) -> None:
    if statement.startswith("UPDATE"):
        dsn = migrator_dsn
    elif "maintain_partitions(" in statement:
        dsn = database_dsn
    else:
        dsn = reader_dsn

    with psycopg.connect(dsn) as connection:
        connection.execute(statement)
        connection.rollback()


def test_statements_were_found() -> None:
    assert len(STATEMENTS) >= 10

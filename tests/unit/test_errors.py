"""What errors say."""

from __future__ import annotations

from exporter.errors import LONGEST_SENTENCE, ConfigurationError, DatabaseUnavailable
from exporter.rules.finding import Finding


def test_what_quotes_something_very_long_leaves_out_its_middle() -> None:
    said = str(ConfigurationError("web.yml: rate_limit: " + "x" * 3_000_000 + " is not a duration"))

    assert len(said) < LONGEST_SENTENCE + 100
    assert said.startswith("web.yml: rate_limit: xxx")
    assert said.endswith("xxx is not a duration")
    assert "2,998,039 characters" in said


def test_a_finding_is_as_long_as_people_read() -> None:
    assert len(str(Finding("rules.yml", 1, "g", "r", "x" * 3_000_000))) < LONGEST_SENTENCE + 100


def test_an_error_without_a_message_says_what_it_is() -> None:
    assert str(DatabaseUnavailable()) == "PostgreSQL does not answer."

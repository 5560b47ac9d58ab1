"""Every error this program raises on purpose.

::

    DictRateLimitError
    ├── ConfigurationError          exit code 2
    ├── YamlInvalid                 its callers add the file
    ├── BridgeError
    │   ├── BridgeUnavailable       retried
    │   ├── BridgeRefused           not retried
    │   ├── BridgeBudgetExhausted   retried when the bucket has refilled
    │   └── BadAnswer               not retried
    ├── RuleFileInvalid             exit code 2
    ├── RuleEvaluationFailed
    ├── ExpressionRefused           rules.promql
    ├── TemplateRefused             rules.templates
    ├── TestFileInvalid             rules.promtool
    ├── StoreError
    │   ├── DatabaseUnusable        retried
    │   │   ├── DatabaseUnavailable
    │   │   ├── SchemaMismatch
    │   │   ├── AccessDenied
    │   │   └── PartitionMissing
    │   ├── QueryTooSlow
    │   ├── MigrationFailed
    │   ├── LeaseLost
    │   │   └── DatabaseReverted
    │   └── ReconciliationRefused
    ├── BrokerUnavailable           retried
    │   └── NoReceipt               relay
    ├── EventRefused
    ├── AlertmanagerUnavailable     retried
    ├── AlertsRefused
    └── NothingToExplain            explain

The first line of a class's docstring is its message where none is given. Classes with a room beside them are defined
there: they carry that room's types, or only its callers handle them.

Signals that never leave their room are not errors of the program, and not in the tree: `FunctionFailed` and
`ExpansionFailed` (rules.templates), `ParseError` (rules.promql), `InvalidQuery` and `HistoryUnavailable`
(web.status_page), `HeadroomRefusal` (web), `Refusal` (simulator). Nor is `DurationOutOfRange`, the ValueError of a
parser.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

LONGEST_SENTENCE: Final = 2_000
"""Characters: an error may quote what is wrong, and that may be of any length."""


def sentence(text: str) -> str:
    """Returns ``text``, without its middle where it is too long to read."""
    if len(text) <= LONGEST_SENTENCE:
        return text
    half = LONGEST_SENTENCE // 2
    return f"{text[:half]} ... ({len(text) - 2 * half:,} characters) ... {text[-half:]}"


class DictRateLimitError(Exception):
    """The work failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])


class ConfigurationError(DictRateLimitError):
    """The configuration is not usable.

    ``problems`` are all that was found wrong, a sentence each.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(sentence(problem) for problem in problems)
        super().__init__("; ".join(self.problems))


class YamlInvalid(DictRateLimitError):
    """A text is not YAML, or not of the kind that is accepted.

    No value is in the message: it may be a secret. ``line`` and ``column`` count
    from 1 (0: unknown); ``problem`` is what is wrong there.
    """

    def __init__(self, problem: str, line: int = 1, *, column: int = 0, message: str = "") -> None:
        super().__init__(message or f"line {line}: {problem}")
        self.problem = problem
        self.line = line
        self.column = column

    @property
    def after_file_name(self) -> str:
        """Line and problem, to follow a file's name and a colon."""
        column = f", column {self.column}" if self.column else ""
        return f"{self.line}: is not YAML{column}: {self.problem}"


class BridgeError(DictRateLimitError):
    """A call to the Bridge failed.

    ``code`` is the gRPC status name, or ``BAD_ANSWER``: the label of ``dict_rate_limit_poll_errors_total``.
    ``attempts`` is how many calls were made, each of which may have cost a token.
    """

    def __init__(self, message: str | None = None, *, code: str, attempts: int = 1) -> None:
        super().__init__(message)
        self.code = code
        self.attempts = attempts


class BridgeUnavailable(BridgeError):
    """The Bridge did not answer."""


class BridgeRefused(BridgeError):
    """The Bridge refused the call, and would refuse it again."""


class BridgeBudgetExhausted(BridgeError):
    """DICT answered 429: the bucket that pays for polling is dry."""


class BadAnswer(BridgeError):
    """Nothing in the Bridge's answer was usable.

    ``defects`` are ``bridge.answer.Defect``, to be counted by reason.
    """

    def __init__(self, message: str | None = None, *, attempts: int = 1, defects: tuple[Any, ...] = ()) -> None:
        super().__init__(message, code="BAD_ANSWER", attempts=attempts)
        self.defects = defects


class RuleFileInvalid(DictRateLimitError):
    """A rule file was refused.

    ``findings`` are all that was found wrong; each one's text is a line with file, line, group and rule.
    """

    def __init__(self, message: str | None = None, findings: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


class RuleEvaluationFailed(DictRateLimitError):
    """A rule could not be evaluated."""


class StoreError(DictRateLimitError):
    """PostgreSQL could not do this."""


class DatabaseUnusable(StoreError):
    """PostgreSQL cannot do this at present; the same will succeed once an operator has put that right."""


class QueryTooSlow(StoreError):
    """PostgreSQL took too long for a page that someone waits for."""


class DatabaseUnavailable(DatabaseUnusable):
    """PostgreSQL does not answer.

    ``is_away`` is False where it answered, and could not do this one thing now, such as wait for a lock any longer.
    """

    def __init__(self, message: str | None = None, *, is_away: bool = True) -> None:
        super().__init__(message)
        self.is_away = is_away


class SchemaMismatch(DatabaseUnusable):
    """The database's schema is not the one this version needs."""


class AccessDenied(DatabaseUnusable):
    """The database user may not do this."""


class PartitionMissing(DatabaseUnusable):
    """There is no partition for the month of a poll."""


class MigrationFailed(StoreError):
    """A migration failed; nothing of it was applied."""


class LeaseLost(StoreError):
    """Another reconciler holds the lease; nothing was committed."""


class DatabaseReverted(LeaseLost):
    """The database has become an older copy of itself; nothing was committed."""


class ReconciliationRefused(StoreError):
    """PostgreSQL refused the rows of a poll; nothing of it was committed."""


class BrokerUnavailable(DictRateLimitError):
    """Pulsar does not answer."""


class EventRefused(DictRateLimitError):
    """Pulsar will never accept this event."""


class AlertmanagerUnavailable(DictRateLimitError):
    """Alertmanager does not answer, or does not let this client in."""


class AlertsRefused(DictRateLimitError):
    """Alertmanager will never accept what was sent, as it is."""


def first_of(group: ExceptionGroup) -> Exception:
    """Returns the first error within a group: the one to report."""
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error

"""Whose history is stored; hints for names that are not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, TypeVar

from exporter.buckets.bucket import Ispb, PolicyName
from exporter.config.settings import DatabaseSettings
from exporter.errors import DictRateLimitError
from exporter.store.database import Database, reached
from exporter.store.reader import Reader
from exporter.structures import did_you_mean

T = TypeVar("T")

_MOST_NAMED: Final = 10


async def find_participants(settings: DatabaseSettings, requested: Sequence[str] = ()) -> list[Ispb]:
    """Returns the participants with stored polls: all of them, or those requested.

    Raises DictRateLimitError where there are none, or one requested is not among them; DatabaseUnavailable.
    """
    async with reached(settings) as database:
        stored = await Reader(database).participants()
    if not stored:
        raise DictRateLimitError("the database holds no polls yet: there is no history to look at")
    missing = [participant for participant in requested if participant not in stored]
    if missing:
        more = f" and {len(stored) - _MOST_NAMED:,} more" if len(stored) > _MOST_NAMED else ""
        names = ", ".join(stored[:_MOST_NAMED]) + more
        raise DictRateLimitError(f"the database holds no poll of participant {missing[0]}; it has {names}")
    return [participant for participant in stored if not requested or participant in requested]


async def read_history(
    settings: DatabaseSettings, requested: Sequence[str], work: Callable[[Reader, Sequence[Ispb]], Awaitable[T]]
) -> T:
    """Returns the result of ``work`` with a reader and the participants. Raises as `find_participants` does."""
    participants = await find_participants(settings, requested)
    async with Database(settings, writes=False) as database:
        return await work(Reader(database), participants)


async def stored_policies(settings: DatabaseSettings) -> set[PolicyName]:
    """Returns every policy that answers have ever held.

    Raises DatabaseUnavailable; ConfigurationError as `Database` does.
    """
    async with reached(settings) as database:
        return await Reader(database).policies(include_removed=True)


async def require_policy(settings: DatabaseSettings, policy: str) -> None:
    """Raises DictRateLimitError where no participant has such a bucket, with the nearest name; DatabaseUnavailable."""
    async with reached(settings) as database:
        policies = sorted(await Reader(database).policies())
    if policy not in policies:
        raise DictRateLimitError(f"no participant has a bucket {policy}{did_you_mean(policy, policies)}")


async def require_alert(settings: DatabaseSettings, name: str, rule_names: Collection[str]) -> None:
    """Raises DictRateLimitError where neither a stored alert nor a rule has that name; DatabaseUnavailable."""
    async with reached(settings) as database:
        names = {*rule_names, *await Reader(database).alert_names()}
    if name not in names:
        raise DictRateLimitError(f"no alert is named {name}{nearest_or_all(name, names)}")


def nearest_or_all(name: str, names: Collection[str]) -> str:
    """Returns the end of an error: the nearest name, or all names."""
    return did_you_mean(name, names) or (f"; there are {', '.join(sorted(names))}" if names else "")

"""Whose history there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from exporter.errors import DictRateLimitError
from exporter.rules.promql.unsupported import nearest
from exporter.store.database import Database, reached
from exporter.store.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from exporter.buckets.bucket import Ispb
    from exporter.config import DatabaseSettings

T = TypeVar("T")

_NAMED: Final = 10


async def find_participants(settings: DatabaseSettings, wanted: Sequence[str] = ()) -> list[Ispb]:
    """Returns those whose polls the database holds: all of them, or those wanted.

    Raises DictRateLimitError where there are none, or one is not among them; DatabaseUnavailable.
    """
    async with reached(settings) as database:
        known = await Reader(database).participants()
    if not known:
        raise DictRateLimitError("the database holds no polls yet: there is no history to look at")
    missing = [participant for participant in wanted if participant not in known]
    if missing:
        raise DictRateLimitError(f"the database holds no poll of participant {missing[0]}; it has {named(known)}")
    return [participant for participant in known if not wanted or participant in wanted]


async def require_policy(settings: DatabaseSettings, policy: str) -> None:
    """Raises DictRateLimitError where no participant has such a bucket, with the nearest name; DatabaseUnavailable."""
    async with reached(settings) as database:
        known = sorted({state.observation.bucket.policy for state in await Reader(database).latest_states()})
    if policy not in known:
        raise DictRateLimitError(f"no participant has a bucket {policy}{nearest(policy, known)}")


async def require_alert(settings: DatabaseSettings, name: str, rules: Collection[str]) -> None:
    """Raises DictRateLimitError where neither an alert nor one of the ``rules`` has that name; DatabaseUnavailable."""
    async with reached(settings) as database:
        known = {*rules, *await Reader(database).alert_names()}
    if name not in known:
        raise DictRateLimitError(f"no alert is named {name}{hint(name, known)}")


def hint(name: str, known: Collection[str]) -> str:
    """Returns the nearest known name, or all that there are."""
    return nearest(name, known) or (f"; there are {', '.join(sorted(known))}" if known else "")


async def reading(
    settings: DatabaseSettings, wanted: Sequence[str], work: Callable[[Reader, Sequence[Ispb]], Awaitable[T]]
) -> T:
    """Returns what ``work`` makes of the history of those wanted. Raises as `find_participants` does."""
    found = await find_participants(settings, wanted)
    async with Database(settings, writes=False) as database:
        return await work(Reader(database), found)


def named(participants: Sequence[str]) -> str:
    """Returns the participants, the first few of them where they are many."""
    more = len(participants) - _NAMED
    return ", ".join(participants[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")

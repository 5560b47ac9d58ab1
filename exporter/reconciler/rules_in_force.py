"""The rules in force: loaded at start, and again when asked or when a file changed. All or nothing."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

from exporter.errors import RuleFileInvalid
from exporter.rules.files import loading
from exporter.rules.lint import linter
from exporter.watched_files import WatchedFiles

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from exporter.alerts.alert import Rule, Severity
    from exporter.config import RulesSettings
    from exporter.metrics import Metrics
    from exporter.rules.files.loading import RuleSet

log = logging.getLogger(__name__)

MOST_NAMED: Final = 20
"""How many rules that are gone, or errors, the log names."""

LOOK_AGAIN_SECONDS: Final = 1.0
"""How soon files are looked at again that changed and do not stand still yet."""


class RulesObserver(Protocol):
    """Hears when other rules are in force."""

    def on_rules_changed(self, series: Collection[tuple[Severity, bool]]) -> None:
        """``series`` are the (severity, per policy) label sets that the alert counters can have."""
        ...


class RulesInForce:
    """Holds one rule set at a time.

    Raises RuleFileInvalid when made with files that do not load.
    """

    def __init__(
        self,
        settings: RulesSettings,
        metrics: Metrics,
        observer: RulesObserver | None = None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._observer = observer
        self._watched = WatchedFiles()
        self._look()
        self._checked: RuleSet | None = None
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[None]] = set()
        self.rule_set = loading.load(settings.files, allow_none=settings.allow_none)
        self.rules: Sequence[Rule] = ()
        self._took_over()
        log.info("rules loaded", extra={"rules": len(self.rules), "files": len(self.rule_set.files)})

    async def reload(self) -> None:
        """Loads the files again, and swaps the rules at once when that is done: polls go on meanwhile.

        One at a time: what was asked for last is loaded last. Raises RuleFileInvalid, and leaves the running
        rules in place.
        """
        async with self._reloading:
            await asyncio.to_thread(self._look)
            loaded = await self._loaded()
            self._swap(loaded)

    def reload_soon(self) -> None:
        """Begins to reload; what is wrong is logged."""
        task = asyncio.create_task(self._try_reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _try_reload(self) -> None:
        with suppress(RuleFileInvalid):
            await self.reload()

    async def _loaded(self) -> RuleSet:
        settings = self._settings
        try:
            with _without_collections():
                return await asyncio.to_thread(loading.load, settings.files, allow_none=settings.allow_none)
        except RuleFileInvalid as error:
            self._metrics.rules.last_reload_successful.set(0)
            for finding in error.findings[:MOST_NAMED]:
                log.error("rules not reloaded, the running ones stay: %s", finding)  # noqa: TRY400 - it says enough
            if len(error.findings) > MOST_NAMED:
                log.error("rules not reloaded: %d more errors", len(error.findings) - MOST_NAMED)  # noqa: TRY400
            raise

    def _swap(self, loaded: RuleSet) -> None:
        before, self.rule_set = self.rule_set, loaded
        self._took_over()
        log.info("rules reloaded", extra={"rules": len(self.rules), "files": len(self.rule_set.files)})
        left = {(rule.group, rule.name) for rule in self.rule_set.rules}
        gone = [key for key in dict.fromkeys((rule.group, rule.name) for rule in before.rules) if key not in left]
        for group, name in gone[:MOST_NAMED]:
            log.warning("a rule is gone: its alerts resolve", extra={"group": group, "rule": name})
        if len(gone) > MOST_NAMED:
            log.warning("%d more rules are gone: their alerts resolve", len(gone) - MOST_NAMED)

    async def watch(self) -> None:
        """Reloads when files changed and stand still; looks every ``reload_interval``. Ends by cancellation."""
        while True:
            await self._tell_warnings()
            interval_seconds = float(self._settings.reload_interval)
            restless = self._watched.is_restless
            await asyncio.sleep(min(LOOK_AGAIN_SECONDS, interval_seconds) if restless else interval_seconds)
            if not await asyncio.to_thread(self._differ):
                continue
            await self._try_reload()

    def _differ(self) -> bool:
        """Returns whether the files hold something else than what was last tried."""
        names = loading.matching_files(self._settings.files)
        if not self._watched.changed(names):
            return False
        if loading.checksum(self._settings.files) != self._tried:
            return True
        self._watched.take(names)
        return False

    def _look(self) -> None:
        """Notes how the files are that are about to be read."""
        self._watched.take(loading.matching_files(self._settings.files))
        self._tried = loading.checksum(self._settings.files)

    async def _tell_warnings(self) -> None:
        """Logs what `rules check` warns of, once for each rule set, and without holding anything up."""
        if self._checked is self.rule_set:
            return
        self._checked = self.rule_set
        with _without_collections():
            findings = await asyncio.to_thread(linter.check, self._settings.files)
        for finding in findings:
            if finding.severity == "warning":
                log.warning("rules check: %s", finding)

    def _took_over(self) -> None:
        self.rules = self.rule_set.rules
        self._metrics.rules.last_reload_successful.set(1)
        self._metrics.rules.last_reload_success_timestamp_seconds.set(time.time())
        series = alert_series(self.rules)
        self._metrics.declare_alert_counters(series)
        if self._observer is not None:
            self._observer.on_rules_changed(series)


def alert_series(rules: Sequence[Rule]) -> frozenset[tuple[Severity, bool]]:
    """Returns the (severity, per policy) label sets that the alert counters can have."""
    return frozenset((rule.severity, rule.per_policy) for rule in rules)


@contextmanager
def _without_collections() -> Iterator[None]:
    """Makes lasting objects without the garbage collector looking through them.

    It would do so again and again as they become more, and hold the event loop up, for seconds in all.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

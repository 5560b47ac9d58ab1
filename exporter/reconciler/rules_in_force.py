"""The rules in force: loaded at start, and again when asked or when a file changed. All or nothing."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from exporter.alerts.alert import Severity
from exporter.alerts.rule import Rule, alerting
from exporter.config.settings import RulesSettings
from exporter.errors import RuleFileInvalid
from exporter.metrics import Metrics
from exporter.rules.files import loading
from exporter.rules.files.compiler import Options
from exporter.rules.files.loading import Attempt, RuleSet
from exporter.rules.lint import linter
from exporter.rules.lint.known_values import ANY_INSTALLATION, Installation
from exporter.rules.rule import AnyCompiledRule
from exporter.watched_files import STABLE_SECONDS, WatchedFiles

log = logging.getLogger(__name__)

MOST_LOGGED: Final = 20
"""How many removed rules, or errors, are logged one by one."""


class RulesInForce:
    """Holds one rule set at a time.

    ``report_series`` is called with the (severity, per policy) label sets that the alert counters can have.
    ``options`` None: those of the settings alone. ``installation`` is where checks suppose them to run.
    ``restless_seconds`` is how soon files that are still being written are looked at again.
    Raises RuleFileInvalid when made with files that do not load.
    """

    def __init__(
        self,
        settings: RulesSettings,
        metrics: Metrics,
        report_series: Callable[[Collection[tuple[Severity, bool]]], None] = lambda _: None,
        *,
        options: Options | None = None,
        installation: Installation = ANY_INSTALLATION,
        restless_seconds: float = 1.0,
        stable_seconds: float = STABLE_SECONDS,
    ) -> None:
        self._settings = settings
        self._installation = installation
        self._options = options or Options(settings.max_range)
        self._metrics = metrics
        self._report_series = report_series
        self._restless_seconds = restless_seconds
        self._watched = WatchedFiles(stable_seconds)
        self._note_files()
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[None]] = set()
        attempt = loading.attempt(settings.files, self._options)
        self.rule_set = attempt.accepted(allow_none=settings.allow_none)
        self._unchecked: Attempt | None = attempt
        self.rules: Sequence[AnyCompiledRule] = ()
        self._announce()
        log.info("rules loaded", extra={"rules": len(self.rules), "files": len(self.rule_set.files)})

    async def reload(self) -> None:
        """Loads the files again, and swaps the rules at once when that is done: polls go on meanwhile.

        One at a time: what was asked for last is loaded last. Raises RuleFileInvalid, and leaves the running
        rules in place.
        """
        async with self._reloading:
            await asyncio.to_thread(self._note_files)
            self._swap(await self._load())

    def reload_soon(self) -> None:
        """Begins to reload; what is wrong is logged."""
        task = asyncio.create_task(self._try_reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _try_reload(self) -> None:
        with suppress(RuleFileInvalid):
            await self.reload()

    async def _load(self) -> RuleSet:
        settings = self._settings
        try:
            with _without_collections():
                attempt = await asyncio.to_thread(loading.attempt, settings.files, self._options)
            rule_set = attempt.accepted(allow_none=settings.allow_none)
        except RuleFileInvalid as error:
            self._metrics.rules.last_reload_successful.set(0)
            for finding in error.findings[:MOST_LOGGED]:
                fields = {"error": str(finding), "errors": len(error.findings)}
                log.error("rules not reloaded, the running ones stay", extra=fields)  # noqa: TRY400 - it says enough
            raise
        self._unchecked = attempt
        return rule_set

    def _swap(self, loaded: RuleSet) -> None:
        before, self.rule_set = self.rule_set, loaded
        self._announce()
        log.info("rules reloaded", extra={"rules": len(self.rules), "files": len(self.rule_set.files)})
        kept = {(rule.kind, rule.group, rule.name) for rule in self.rules}
        keys = dict.fromkeys((rule.kind, rule.group, rule.name) for rule in before.rules)
        removed = [key for key in keys if key not in kept]
        for kind, group, name in removed[:MOST_LOGGED]:
            fields = {"group": group, "rule": name, "removed": len(removed)}
            if kind == "alerting":
                log.warning("rule removed, its alerts resolve", extra=fields)
            else:
                log.warning("rule removed, its series end", extra=fields)

    async def watch(self) -> None:
        """Reloads when files changed and are stable; checks every ``reload_interval``. Ends by cancellation."""
        while True:
            await self._check()
            interval_seconds = float(self._settings.reload_interval)
            restless = self._watched.is_restless
            await asyncio.sleep(min(self._restless_seconds, interval_seconds) if restless else interval_seconds)
            if await asyncio.to_thread(self._changed):
                await self._try_reload()

    def _changed(self) -> bool:
        """Returns whether the files differ in content from those that were last tried."""
        names = loading.matching_files(self._settings.files)
        if not self._watched.changed(names):
            return False
        if loading.checksum(self._settings.files) != self._tried:
            return True
        self._watched.take(names)
        return False

    def _note_files(self) -> None:
        """Notes the state of the files that are about to be read."""
        self._watched.take(loading.matching_files(self._settings.files))
        self._tried = loading.checksum(self._settings.files)

    async def _check(self) -> None:
        """Logs what `rules check` warns of, once for each rule set; the event loop goes on meanwhile."""
        if self._unchecked is None:
            return
        attempt, self._unchecked = self._unchecked, None
        try:
            with _without_collections():
                warnings = await asyncio.to_thread(linter.warnings, attempt, self._installation)
        except Exception:
            # The rules are in force, whatever becomes of a look at them.
            log.exception("rules check failed")
            return
        for warning in warnings:
            fields = {"check": warning.check, "file": warning.file, "line": warning.line, "group": warning.group}
            fields |= {"rule": warning.rule, "warning": warning.message}
            log.warning("rules check found a warning", extra=fields)

    def _announce(self) -> None:
        self.rules = self.rule_set.rules
        self._metrics.rules.last_reload_successful.set(1)
        self._metrics.rules.last_reload_success_timestamp_seconds.set(time.time())
        series = alert_series(self.rules)
        self._metrics.declare_alert_counters(series)
        self._report_series(series)


def alert_series(rules: Sequence[Rule]) -> frozenset[tuple[Severity, bool]]:
    """Returns the (severity, per policy) label sets that the alert counters can have."""
    return frozenset((rule.severity, rule.per_policy) for rule in alerting(rules))


@contextmanager
def _without_collections() -> Iterator[None]:
    """Makes lasting objects without the garbage collector looking through them.

    It would do so again and again as they become more, and hold the event loop up, for seconds in all.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.collect(1)  # what is frozen is never looked through again, be it garbage
        gc.freeze()
        gc.enable()

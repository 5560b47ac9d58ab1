"""The rules in force: loaded at start, and again when asked or when a file changed. All or nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from exporter.errors import RuleFileInvalid
from exporter.reconciler import series_of
from exporter.rules import loading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from exporter.alerts.alert import Rule, Severity
    from exporter.config import RulesSettings
    from exporter.metrics import Metrics
    from exporter.rules.loading import RuleSet

log = logging.getLogger(__name__)


class RulesInForce:
    """Holds one rule set at a time. ``changed`` hears the series that the rules can produce.

    Raises RuleFileInvalid when made with files that do not load.
    """

    def __init__(
        self,
        settings: RulesSettings,
        metrics: Metrics,
        changed: Callable[[Collection[tuple[Severity, bool]]], None],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._changed = changed
        self._tried = loading.checksum(settings.files)
        self.rule_set = loading.load(settings.files)
        self.rules: Sequence[Rule] = ()
        self._took_over()

    def reload(self) -> RuleSet:
        """Loads the files again. Raises RuleFileInvalid, and leaves the running rules in place."""
        self._tried = loading.checksum(self._settings.files)
        try:
            self.rule_set = loading.load(self._settings.files)
        except RuleFileInvalid as error:
            self._metrics.config_last_reload_successful.set(0)
            log.error("rules not reloaded, the running ones stay: %s", error)  # noqa: TRY400 - the sentence is enough
            raise
        self._took_over()
        log.info("rules reloaded", extra={"rules": len(self.rules)})
        return self.rule_set

    async def watch(self) -> None:
        """Reloads when the files' checksum changed; looks every ``reload_interval``. Ends by cancellation."""
        while True:
            await asyncio.sleep(self._settings.reload_interval)
            if await asyncio.to_thread(loading.checksum, self._settings.files) == self._tried:
                continue
            try:
                self.reload()
            except RuleFileInvalid:
                continue

    def _took_over(self) -> None:
        self.rules = self.rule_set.rules
        self._metrics.config_last_reload_successful.set(1)
        self._metrics.config_last_reload_success_timestamp_seconds.set(time.time())
        series = series_of(self.rules)
        self._metrics.announce(series)
        self._changed(series)

"""How rule files are loaded, going by the configuration."""

from __future__ import annotations

from exporter.config.settings import Settings
from exporter.rules.files.compiler import Options
from exporter.rules.lint.context import Installation
from exporter.rules.templates.values import External
from exporter.web.server.own_url import own_url


def external_url(settings: Settings) -> str | None:
    """Returns the base of links to this program; None: the system chooses the port."""
    return settings.alertmanager.external_url or own_url(settings.web)


def installation(settings: Settings) -> Installation:
    """Returns where checks suppose rules to run; of policies they know those that are published."""
    return Installation(
        participants=frozenset(settings.participants),
        poll_interval_seconds=settings.poll.interval,
        max_range_seconds=settings.rules.max_range,
    )


def rule_options(settings: Settings) -> Options:
    external = External(settings.external_labels, external_url(settings) or "")
    return Options(settings.rules.max_range, external=external)

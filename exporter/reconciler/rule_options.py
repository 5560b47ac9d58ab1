"""How rule files are loaded, and where checks suppose them to run, going by the configuration."""

from __future__ import annotations

from collections.abc import Callable

from exporter.config.settings import Settings
from exporter.rules.files.compiler import Options
from exporter.rules.lint.known_values import Installation
from exporter.rules.templates.values import External
from exporter.web.server.own_url import own_url


def external_url(settings: Settings) -> str | None:
    """Returns the base of links to this program; None: the system chooses the port."""
    return settings.alertmanager.external_url or own_url(settings.web)


def installation(
    settings: Settings, stored_policies: Callable[[], frozenset[str] | None] | None = None
) -> Installation:
    """Returns where rules are to run; without ``stored_policies`` a policy may have any name."""
    return Installation(
        frozenset(settings.participants),
        settings.poll.interval,
        settings.rules.max_range,
        stored_policies,
    )


def rule_options(settings: Settings) -> Options:
    external = External(settings.external_labels, external_url(settings) or "")
    return Options(settings.rules.max_range, external=external)

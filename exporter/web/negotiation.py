"""The format and compression that a scraper prefers, by its Accept headers (RFC 9110)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_OPENMETRICS_VERSIONS: Final = ("", "0.0.1", "1.0.0")


def wants_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics is preferred to the text format, which is the default."""
    openmetrics = text = 0.0
    for kind, parameters, quality in _accepted(accept):
        if kind == "application/openmetrics-text" and parameters.get("version", "") in _OPENMETRICS_VERSIONS:
            openmetrics = max(openmetrics, quality)
        elif kind in ("text/plain", "text/*", "*/*"):
            text = max(text, quality)
    return openmetrics > 0 and openmetrics >= text


def wants_gzip(accept_encoding: str) -> bool:
    """Whether gzip is acceptable, and nothing that is named is preferred to it."""
    named = {kind: quality for kind, _, quality in _accepted(accept_encoding)}
    gzip = named.get("gzip", named.get("x-gzip", named.get("*", 0.0)))
    return gzip > 0 and gzip >= named.get("identity", 0.0)


def _accepted(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for entry in header.split(","):
        kind, *rest = entry.split(";")
        parameters = {
            name.strip().lower(): value.strip().strip('"') for name, _, value in (part.partition("=") for part in rest)
        }
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        if kind.strip():
            yield kind.strip().lower(), parameters, quality

"""A duration that is over before anything is looked at again."""

from __future__ import annotations

from exporter.durations import Duration
from exporter.rules.finding import Location
from exporter.rules.lint.context import Context, Problems


def check(context: Context) -> Problems:
    parsed, interval_seconds = context.parsed, context.installation.poll_interval_seconds
    for key, seconds in (("for", parsed.for_seconds), ("keep_firing_for", parsed.keep_firing_for_seconds)):
        if 0 < seconds < interval_seconds:
            why = f"is shorter than a poll ({Duration(interval_seconds)}): it is over at the next one"
            yield Location(parsed.line), f"{key}: {Duration(seconds)} {why}; leave it out, or wait for two polls"

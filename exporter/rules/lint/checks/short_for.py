"""A duration that is over before the next poll: it lasts as long as that takes."""

from __future__ import annotations

from exporter.durations import Duration
from exporter.rules.finding import Location
from exporter.rules.lint.context import Context, Problems


def check(context: Context) -> Problems:
    parsed, interval_seconds = context.parsed, context.installation.poll_interval_seconds
    for key, seconds in (("for", parsed.for_seconds), ("keep_firing_for", parsed.keep_firing_for_seconds)):
        if 0 < seconds < interval_seconds:
            poll = Duration(interval_seconds)
            why = f"is shorter than a poll ({poll}): unless a read comes between, it lasts until the next one"
            yield Location(parsed.line), f"{key}: {Duration(seconds)} {why}, as {key}: {poll} does"

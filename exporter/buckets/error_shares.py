"""The shares of 404s and of 429s among what the Bridge answered, from its counts."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from exporter.buckets.bucket import ResponseCounts


def error_shares(window: Sequence[ResponseCounts | None]) -> tuple[float | None, float | None]:
    """Returns the shares of 404s and of 429s, 0 to 1, of what was answered within a window of counts.

    None where nothing was, or where the last answer had no counts.
    """
    if not window or window[-1] is None:
        return None, None
    counted = _counted(window)
    answers = sum([end.total - begin.total for begin, end in counted])
    if not answers:
        return None, None
    not_found = sum([end.not_found - begin.not_found for begin, end in counted])
    rate_limited = sum([end.rate_limited - begin.rate_limited for begin, end in counted])
    return not_found / answers, rate_limited / answers


def _counted(window: Sequence[ResponseCounts | None]) -> Collection[tuple[ResponseCounts, ResponseCounts]]:
    """Returns from which counts to which each Bridge instance has counted.

    Each instance's counts are compared with its own. A count that falls starts the window of its instance anew, an
    answer without counts that of all.
    """
    counted: dict[str, tuple[ResponseCounts, ResponseCounts]] = {}
    for counts in window:
        if counts is None:
            counted = {}
            continue
        begin, before = counted.get(counts.instance, (counts, counts))
        counted[counts.instance] = (begin if counts.continues(before) else counts, counts)
    return counted.values()

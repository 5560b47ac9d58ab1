"""Dips that no whole poll saw: a bucket that reads found low between two polls that show it well. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from exporter.buckets.bucket import WARNING_LEFT_PERCENT, Bucket, PolicyName
from exporter.buckets.observation import View


@dataclass(slots=True)
class DipWatch:
    """Follows one participant's views, each of which it may be given again."""

    _whole_at: datetime | None = None
    _low_at_poll: frozenset[PolicyName] = frozenset()
    _lowest: dict[PolicyName, Bucket] = field(default_factory=dict)

    def follow(self, view: View) -> Iterator[Bucket]:
        """Yields, once the next whole poll has come, each bucket as low as reads saw it since the one before."""
        low = {p: b for p, v in view.buckets.items() if _is_low(b := v.observation.bucket)}
        if view.whole_at != self._whole_at:
            for policy, bucket in self._lowest.items():
                if view.poll.answered and policy in view.buckets and policy not in low:
                    yield bucket
            self._whole_at, self._low_at_poll, self._lowest = view.whole_at, frozenset(low), {}
        elif view.poll.is_read:
            for policy in low.keys() - self._low_at_poll:
                known = self._lowest.setdefault(policy, low[policy])
                if low[policy].available_tokens < known.available_tokens:
                    self._lowest[policy] = low[policy]


def _is_low(bucket: Bucket) -> bool:
    return bucket.left_percent <= WARNING_LEFT_PERCENT

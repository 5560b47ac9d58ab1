"""Token buckets, and requests on those of one participant, made on a fixed grid of steps.

A step's requests come at its end. How many depends on the scenario, the seed and the step alone, never on when buckets
are read: fractions are carried from step to step, and random variation is drawn in the order of the steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from exporter.buckets.bucket import PolicyName
from exporter.buckets.catalog import ANTISCAN, USER_POLICIES
from exporter.simulator.scenario import Flow, Refill


class TokenBucket:
    """An exact bucket of whole tokens, full at the start. Time is an argument, in seconds, and never goes back.

    In units of 1/period of a token, so that refilling is exact in integers at the resolution of a microsecond.
    Stepwise, ``refill_tokens`` arrive at each ``phase_seconds + n x period``.
    """

    __slots__ = ("_at", "_level", "capacity", "mode", "phase_us", "refill_tokens", "refill_us")

    def __init__(
        self,
        capacity: int,
        refill_tokens: int,
        refill_period_seconds: int,
        *,
        mode: Refill = Refill.CONTINUOUS,
        phase_seconds: float = 0.0,
        tokens: int | None = None,
    ) -> None:
        self.capacity = capacity
        self.refill_tokens = refill_tokens
        self.refill_us = refill_period_seconds * 1_000_000
        self.mode = mode
        self.phase_us = round(phase_seconds * 1e6)
        self._at = 0
        self._level = (capacity if tokens is None else tokens) * self.refill_us

    def available(self, at: float) -> int:
        """Returns the whole tokens at ``at``."""
        self._advance(at)
        return self._level // self.refill_us

    def take(self, tokens: int, at: float) -> bool:
        """Takes tokens; returns False, and takes none, where there are too few (DICT answers 429)."""
        self._advance(at)
        units = tokens * self.refill_us
        if self._level < units:
            return False
        self._level -= units
        return True

    def drain(self, tokens: int, at: float) -> int:
        """Takes up to ``tokens``; returns how many it took."""
        self._advance(at)
        taken = min(tokens, self._level // self.refill_us)
        self._level -= taken * self.refill_us
        return taken

    def give_back(self, tokens: int, at: float) -> None:
        """Gives tokens back, as a payment order does; what does not fit is lost."""
        self._advance(at)
        self._level = min(self.capacity * self.refill_us, self._level + tokens * self.refill_us)

    def resize(self, capacity: int, refill_tokens: int, at: float) -> None:
        """Continues with another capacity and refill, as after a change of category."""
        self._advance(at)
        self.capacity, self.refill_tokens = capacity, refill_tokens
        self._level = min(self._level, capacity * self.refill_us)

    def _advance(self, at: float) -> None:
        now = round(at * 1e6)
        if now <= self._at:
            return
        if self.mode is Refill.CONTINUOUS:
            gained = (now - self._at) * self.refill_tokens
        else:
            steps = (now - self.phase_us) // self.refill_us - (self._at - self.phase_us) // self.refill_us
            gained = steps * self.refill_tokens * self.refill_us
        self._level = min(self.capacity * self.refill_us, self._level + gained)
        self._at = now


@dataclass(frozen=True, slots=True)
class Prices:
    """Tokens that a request on a policy takes (404) or gives back (payment order); any other takes 1."""

    not_found: int = 1
    given_back: int = 0


def prices(policy: PolicyName, person_type: str) -> Prices:
    """Returns DICT's counting rules for a policy; ``person_type`` is PF or PJ."""
    if policy == ANTISCAN:
        return Prices(not_found=3, given_back=1)
    if policy in USER_POLICIES:
        return Prices(not_found=20, given_back=2 if person_type == "PJ" else 1)
    return Prices()


class Account:
    """One bucket, and the counts of its answers since the Bridge started."""

    __slots__ = ("bucket", "not_found", "policy", "prices", "rate_limited", "taken", "total")

    def __init__(self, policy: PolicyName, bucket: TokenBucket, its_prices: Prices) -> None:
        self.policy = policy
        self.bucket = bucket
        self.prices = its_prices
        self.taken = 0
        self.reset_counts()

    def reset_counts(self) -> None:
        """Starts counting at 0 again, as a restarted Bridge does."""
        self.total = self.not_found = self.rate_limited = 0

    def charge(self, at: float) -> bool:
        """Takes one token for reading the buckets; returns False where there is none."""
        self.total += 1
        if self.bucket.take(1, at):
            self.taken += 1
            return True
        self.rate_limited += 1
        return False

    def serve(self, hits: int, misses: int, at: float) -> int:
        """Answers requests at ``at`` seconds, 404s last; what finds no token is 429. Returns how many hits it served.

        A 404 is admitted while there is a token, and takes what is left of its price.
        """
        price = self.prices.not_found
        self.total += hits + misses
        if price == 1 or not misses:
            taken = self.bucket.drain(hits + misses, at)
            served = min(hits, taken)
            admitted = taken - served
        else:
            served = self.bucket.drain(hits, at)
            admitted = min(misses, -(-self.bucket.available(at) // price))
            taken = served + self.bucket.drain(admitted * price, at)
        self.taken += taken
        self.not_found += admitted
        self.rate_limited += hits + misses - served - admitted
        return served

    def give_back(self, orders: int, at: float) -> None:
        """Gives tokens back for payment orders. ``taken`` is net of them, of what overflows too."""
        self.bucket.give_back(orders * self.prices.given_back, at)
        self.taken -= orders * self.prices.given_back


class Stream:
    """A scenario's flow on one account."""

    def __init__(self, flow: Flow, account: Account, step_seconds: float, random: Random) -> None:
        self._account = account
        self._per_step = requests_per_second(flow, account) * step_seconds
        self._not_found = flow.not_found
        self._paid = flow.paid if account.prices.given_back else 0.0
        self._variation = flow.variation
        self._first = round(flow.from_ / step_seconds)
        self._length = None if flow.until is None else round((flow.until - flow.from_) / step_seconds)
        self._period = None if flow.every is None else round(flow.every / step_seconds)
        self._carried = random.random()
        self._carried_misses = random.random()
        self._carried_orders = random.random()
        if flow.spread:
            self._first += random.randrange(round(flow.spread / step_seconds) + 1)

    def play(self, step: int, at: float, random: Random) -> None:
        """Makes the requests of a step, at ``at`` seconds: its end."""
        since = step - self._first
        if since < 0:
            return
        if self._length is not None:
            if self._period is not None:
                since %= self._period
            if since >= self._length:
                return
        rate = self._per_step
        if self._variation:
            rate *= 1.0 + self._variation * (2.0 * random.random() - 1.0)
        rate += self._carried
        requests = int(rate)
        self._carried = rate - requests
        if not requests:
            return
        misses = 0
        if self._not_found:
            self._carried_misses += requests * self._not_found
            misses = int(self._carried_misses)
            self._carried_misses -= misses
        served = self._account.serve(requests - misses, misses, at)
        if self._paid and served:
            self._carried_orders += served * self._paid
            orders = int(self._carried_orders)
            self._carried_orders -= orders
            self._account.give_back(orders, at)


def requests_per_second(flow: Flow, account: Account) -> float:
    """Returns the mean rate of a flow on an account. A share of the refill is in tokens, net of those given back."""
    if flow.requests_per_minute is not None:
        return flow.requests_per_minute / 60
    share = flow.share_of_refill or 0.0
    price = account.prices
    paid = flow.paid * price.given_back
    tokens_per_request = flow.not_found * price.not_found + (1 - flow.not_found) * (1 - paid)
    refill_per_second = account.bucket.refill_tokens * 1e6 / account.bucket.refill_us
    return share * refill_per_second / max(tokens_per_request, 0.05)

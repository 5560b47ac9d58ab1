"""Scenario files: sizes, traffic, and faults over time, bad answers too. docs/simulator.md describes the format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from exporter import files, yaml_text
from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesResponse as Response
from exporter.buckets.catalog import CATEGORIES, POLICIES, POLICIES_LIST, POLICIES_READ
from exporter.durations import Duration, parse_duration
from exporter.errors import ConfigurationError, YamlInvalid

SHIPPED: Final = Path(__file__).parent / "scenarios"

WATCHING: Final = (POLICIES_LIST, POLICIES_READ)
"""Policies that polling itself consumes: ``policies: all`` leaves them to the pollers."""


def _too_many_policies(response: Response) -> None:
    for index in range(5_000):
        policy = response.policies.add()
        policy.CopyFrom(response.policies[0])
        policy.name = f"ZZ_{index:04d}"


def _set(message: Any, **fields: str | int) -> None:
    for name, value in fields.items():
        setattr(message, name, value)


KINDS: Final[dict[str, Callable[[Response], bytes | None]]] = {
    "undecodable": lambda _: b"\xff\xff this is no protobuf message",
    "too_long": lambda response: _set(response, correlation_id="x" * 5_000_000),
    "no_policies": lambda response: response.ClearField("policies"),
    "time_going_back": lambda response: _set(response.response_time, seconds=response.response_time.seconds - 120),
    "no_response_time": lambda response: response.ClearField("response_time"),
    "clock_skew": lambda response: _set(response.response_time, seconds=response.response_time.seconds + 3 * 3600),
    "unknown_category": lambda response: _set(response, category="Z"),
    "bad_correlation_id": lambda response: _set(response, correlation_id="line\nbreak"),
    "too_many_policies": _too_many_policies,
    "empty_name": lambda response: _set(response.policies[0], name=""),
    "bad_name": lambda response: _set(response.policies[0], name="ENTRIES\0WRITE"),
    "duplicate_policy": lambda response: response.policies.add().CopyFrom(response.policies[0]),
    "bad_capacity": lambda response: _set(response.policies[0], capacity=0),
    "bad_refill": lambda response: _set(response.policies[0], refill_tokens=0),
    "bad_refill_period": lambda response: _set(response.policies[0], refill_period_sec=0),
    "bad_response_counts": lambda response: _set(
        response.policies[0].response_counts, total=1, not_found=2, instance="simulator"
    ),
}
"""Bad answers: each kind changes a good one into one with exactly that fault, named as the exporter counts it."""

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Category = Literal["A", "B", "C", "D", "E", "F", "G", "H"]
Selection = Literal["all", "first"] | Positive
"""Of the participants: all, the first, or the first N."""


class Refill(StrEnum):
    """How tokens come back: DICT does not publish which it is."""

    CONTINUOUS = "continuous"
    STEPWISE = "stepwise"


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class _ForParticipants(_Section, frozen=True):
    participants: Selection = "all"

    def concerns(self, index: int) -> bool:
        """Returns whether it holds for the participant of this index."""
        return self.participants == "all" or index < (1 if self.participants == "first" else self.participants)


class _Period(_ForParticipants, frozen=True):
    """From when until when, in seconds since the start, and at which interval again. No ``until``: to the end."""

    from_: Duration = msgspec.field(name="from", default=Duration(0))
    until: Duration | None = None
    every: Duration | None = None

    def covers(self, seconds: float) -> bool:
        """Returns whether it holds at ``seconds`` since the start."""
        since = seconds - self.from_
        if since < 0 or self.until is None:
            return since >= 0
        if self.every is not None:
            since %= self.every
        return since < self.until - self.from_


class Flow(_Period, frozen=True, kw_only=True):
    """Requests on some policies. The rate is in requests, or in tokens as a share of the refill.

    ``spread``: on each bucket it begins up to this much later, as the seed has it.
    """

    policies: Literal["all"] | tuple[str, ...]
    spread: Duration = Duration(0)
    requests_per_minute: Annotated[float, msgspec.Meta(ge=0)] | None = None
    share_of_refill: Annotated[float, msgspec.Meta(ge=0)] | None = None
    not_found: Share = 0.0
    paid: Share = 0.0
    variation: Share = 0.0


class Outage(_Period, frozen=True, tag="outage", tag_field="kind"):
    """No answer. ``restarts``: response counts start at 0 again afterwards, from another instance."""

    status: Literal["UNAVAILABLE", "DEADLINE_EXCEEDED", "UNAUTHENTICATED", "PERMISSION_DENIED", "INTERNAL"] = (
        "UNAVAILABLE"
    )
    restarts: bool = False


class Slow(_Period, frozen=True, kw_only=True, tag="slow", tag_field="kind"):
    """Answers that are late, each by a random time between the two."""

    at_least: Duration = Duration(0)
    at_most: Duration


class Garbage(_Period, frozen=True, tag="garbage", tag_field="kind"):
    """Bad answers, one kind after the other."""

    kinds: tuple[str, ...] = tuple(KINDS)


class CategoryChange(_ForParticipants, frozen=True, kw_only=True):
    """BACEN moves the participants to another category; ``every``: repeatedly."""

    at: Duration
    category: Category
    every: Duration | None = None


class Size(_Section, frozen=True):
    """A bucket that is not as DICT publishes it."""

    capacity: Positive
    refill_tokens: Positive
    refill_period: Duration = Duration(60)


class Scenario(_Section, frozen=True):
    """A file's contents."""

    description: str
    refill: Refill = Refill.CONTINUOUS
    step: Duration = Duration(5)
    category: Category | tuple[Category, ...] = "E"
    person_type: Literal["PF", "PJ"] = "PJ"
    user_policies: bool = True
    response_counts: bool = True
    sizes: dict[str, Size] = {}
    tokens_at_start: dict[str, Share] = {}
    traffic: tuple[Flow, ...] = ()
    category_changes: tuple[CategoryChange, ...] = ()
    faults: tuple[Outage | Slow | Garbage, ...] = ()

    def category_of(self, index: int) -> str:
        """Returns the category of the participant of this index: a list is assigned in turn."""
        return self.category if isinstance(self.category, str) else self.category[index % len(self.category)]


def corrupt(kind: str, response: Response) -> bytes:
    """Returns the bytes of a bad answer of this kind. ``response`` may be changed."""
    return KINDS[kind](response) or response.SerializeToString()


def shipped() -> tuple[str, ...]:
    """Returns the names of the scenarios that come with the program."""
    return tuple(sorted(file.stem for file in SHIPPED.glob("*.yml")))


def load(name_or_file: str | Path) -> Scenario:
    """Returns a shipped scenario, or that of a file. Raises ConfigurationError naming file, key, and what is wrong."""
    file = SHIPPED / f"{name_or_file}.yml" if str(name_or_file) in shipped() else Path(name_or_file)
    if not file.is_file():
        names = ", ".join(shipped())
        raise ConfigurationError(f"{name_or_file}: no such scenario file; the shipped scenarios are {names}")
    try:
        content = files.read(file)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from error
    return parse(content, str(file))


def parse(text: str | bytes, source: str) -> Scenario:
    """Returns the scenario that ``text`` describes. Raises ConfigurationError."""
    try:
        raw = yaml_text.read(text)
    except YamlInvalid as error:
        raise ConfigurationError(f"{source}: {error}") from None
    try:
        scenario = msgspec.convert(raw, Scenario, dec_hook=_decode)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        key = where.strip("`.")
        raise ConfigurationError(f"{source}: {key + ': ' if key else ''}{message}") from error
    for key, problem in _problems(scenario):
        raise ConfigurationError(f"{source}: {key}: {problem}")
    return scenario


def _decode(kind: type, value: Any) -> Any:
    if kind is Duration and isinstance(value, str):
        return Duration(parse_duration(value))
    raise ValueError(f"{value!r} is not a duration; write it with its unit, as in 15s")


def _problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    if scenario.step <= 0:
        yield "step", f"{scenario.step} is not above 0s"
        return
    if not scenario.category:
        yield "category", "is an empty list"
    yield from _size_problems(scenario)
    for index, flow in enumerate(scenario.traffic):
        yield from _flow_problems(f"traffic[{index}]", flow)
        yield from _span_problems(f"traffic[{index}]", flow, scenario.step)
        yield from _grid_problems(f"traffic[{index}]", {"spread": flow.spread}, scenario.step)
    for index, change in enumerate(scenario.category_changes):
        if change.at <= 0:
            yield f"category_changes[{index}].at", "is not after the start; set category"
        yield from _grid_problems(f"category_changes[{index}]", {"at": change.at, "every": change.every}, scenario.step)
    for index, fault in enumerate(scenario.faults):
        yield from _fault_problems(f"faults[{index}]", fault)
        yield from _span_problems(f"faults[{index}]", fault, scenario.step)


def _size_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    for key, names in (("sizes", scenario.sizes), ("tokens_at_start", scenario.tokens_at_start)):
        for name in names:
            if name not in POLICIES:
                yield f"{key}.{name}", "is not a policy of DICT"
    for name, size in scenario.sizes.items():
        if size.refill_period < 1 or size.refill_period % 1:
            yield f"sizes.{name}.refill_period", f"{size.refill_period} is not a whole number of seconds"


def _fault_problems(key: str, fault: Outage | Slow | Garbage) -> Iterator[tuple[str, str]]:
    if isinstance(fault, Slow) and fault.at_most < fault.at_least:
        yield f"{key}.at_most", f"{fault.at_most} is below at_least ({fault.at_least})"
    if isinstance(fault, Garbage):
        unknown = [kind for kind in fault.kinds if kind not in KINDS]
        if unknown or not fault.kinds:
            yield f"{key}.kinds", f"{', '.join(unknown) or 'none'} listed; the kinds are {', '.join(KINDS)}"


def _flow_problems(key: str, flow: Flow) -> Iterator[tuple[str, str]]:
    if (flow.requests_per_minute is None) == (flow.share_of_refill is None):
        yield key, "needs requests_per_minute or share_of_refill, and not both"
    if flow.policies != "all":
        for name in flow.policies:
            if name not in POLICIES:
                yield f"{key}.policies", f"{name} is not a policy of DICT"


def _span_problems(key: str, span: _Period, step: Duration) -> Iterator[tuple[str, str]]:
    yield from _grid_problems(key, {"from": span.from_, "until": span.until, "every": span.every}, step)
    if span.until is not None and span.until <= span.from_:
        yield f"{key}.until", f"{span.until} is not after from ({span.from_})"
    elif span.every is not None and span.until is None:
        yield f"{key}.every", "needs until"
    elif span.every is not None and span.until is not None and span.every < span.until - span.from_:
        yield f"{key}.every", f"{span.every} is shorter than from {span.from_} until {span.until}"


def _grid_problems(key: str, times: dict[str, Duration | None], step: Duration) -> Iterator[tuple[str, str]]:
    for name, time in times.items():
        if time is not None and round(time * 1000) % round(step * 1000):
            yield f"{key}.{name}", f"{time} is not a whole number of steps of {step}"
        elif name == "every" and time is not None and not time:
            yield f"{key}.every", "is 0s"


assert set(CATEGORIES) == set("ABCDEFGH")  # noqa: S101 - Category lists them for msgspec

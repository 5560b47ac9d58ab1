import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RefillMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFILL_MODE_UNSPECIFIED: _ClassVar[RefillMode]
    REFILL_MODE_CONTINUOUS: _ClassVar[RefillMode]
    REFILL_MODE_STEPWISE: _ClassVar[RefillMode]
REFILL_MODE_UNSPECIFIED: RefillMode
REFILL_MODE_CONTINUOUS: RefillMode
REFILL_MODE_STEPWISE: RefillMode

class FromReconciler(_message.Message):
    __slots__ = ("open", "report")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    open: Open
    report: Report
    def __init__(self, open: _Optional[_Union[Open, _Mapping]] = ..., report: _Optional[_Union[Report, _Mapping]] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ("participants", "stream_id", "after_sequence")
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    participants: _containers.RepeatedScalarFieldContainer[str]
    stream_id: str
    after_sequence: int
    def __init__(self, participants: _Optional[_Iterable[str]] = ..., stream_id: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("sequence", "transitions", "series", "outbox_pending", "outbox_oldest_age_seconds", "categories")
    class CategoriesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Category
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Category, _Mapping]] = ...) -> None: ...
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_PENDING_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_OLDEST_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    transitions: _containers.RepeatedCompositeFieldContainer[Transition]
    series: _containers.RepeatedCompositeFieldContainer[AlertSeries]
    outbox_pending: int
    outbox_oldest_age_seconds: float
    categories: _containers.MessageMap[str, Category]
    def __init__(self, sequence: _Optional[int] = ..., transitions: _Optional[_Iterable[_Union[Transition, _Mapping]]] = ..., series: _Optional[_Iterable[_Union[AlertSeries, _Mapping]]] = ..., outbox_pending: _Optional[int] = ..., outbox_oldest_age_seconds: _Optional[float] = ..., categories: _Optional[_Mapping[str, Category]] = ...) -> None: ...

class Transition(_message.Message):
    __slots__ = ("participant", "policy", "severity", "state")
    PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    participant: str
    policy: str
    severity: str
    state: str
    def __init__(self, participant: _Optional[str] = ..., policy: _Optional[str] = ..., severity: _Optional[str] = ..., state: _Optional[str] = ...) -> None: ...

class AlertSeries(_message.Message):
    __slots__ = ("severity", "per_policy")
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    PER_POLICY_FIELD_NUMBER: _ClassVar[int]
    severity: str
    per_policy: bool
    def __init__(self, severity: _Optional[str] = ..., per_policy: _Optional[bool] = ...) -> None: ...

class FromExporter(_message.Message):
    __slots__ = ("opened", "poll", "gap", "alive", "read")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    POLL_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    ALIVE_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    opened: Opened
    poll: Poll
    gap: Gap
    alive: Alive
    read: Poll
    def __init__(self, opened: _Optional[_Union[Opened, _Mapping]] = ..., poll: _Optional[_Union[Poll, _Mapping]] = ..., gap: _Optional[_Union[Gap, _Mapping]] = ..., alive: _Optional[_Union[Alive, _Mapping]] = ..., read: _Optional[_Union[Poll, _Mapping]] = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("stream_id", "participants", "poll_interval_seconds")
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    POLL_INTERVAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    participants: _containers.RepeatedScalarFieldContainer[str]
    poll_interval_seconds: float
    def __init__(self, stream_id: _Optional[str] = ..., participants: _Optional[_Iterable[str]] = ..., poll_interval_seconds: _Optional[float] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("to",)
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    to: int
    def __init__(self, to: _Optional[int] = ..., **kwargs) -> None: ...

class Alive(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Poll(_message.Message):
    __slots__ = ("sequence", "participant", "polled_at", "interval_seconds", "staleness_seconds", "clock_skew_seconds", "last_success_at", "category_changed_at", "traceparent", "duration_seconds", "answered", "failed", "known_category", "stream_began_at")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    POLLED_AT_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STALENESS_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_SKEW_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LAST_SUCCESS_AT_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    DURATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    KNOWN_CATEGORY_FIELD_NUMBER: _ClassVar[int]
    STREAM_BEGAN_AT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    participant: str
    polled_at: _timestamp_pb2.Timestamp
    interval_seconds: float
    staleness_seconds: float
    clock_skew_seconds: float
    last_success_at: _timestamp_pb2.Timestamp
    category_changed_at: _timestamp_pb2.Timestamp
    traceparent: str
    duration_seconds: float
    answered: Observation
    failed: Failure
    known_category: Category
    stream_began_at: _timestamp_pb2.Timestamp
    def __init__(self, sequence: _Optional[int] = ..., participant: _Optional[str] = ..., polled_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., interval_seconds: _Optional[float] = ..., staleness_seconds: _Optional[float] = ..., clock_skew_seconds: _Optional[float] = ..., last_success_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., category_changed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., traceparent: _Optional[str] = ..., duration_seconds: _Optional[float] = ..., answered: _Optional[_Union[Observation, _Mapping]] = ..., failed: _Optional[_Union[Failure, _Mapping]] = ..., known_category: _Optional[_Union[Category, _Mapping]] = ..., stream_began_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Category(_message.Message):
    __slots__ = ("name", "changed_at", "previous")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    name: str
    changed_at: _timestamp_pb2.Timestamp
    previous: str
    def __init__(self, name: _Optional[str] = ..., changed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., previous: _Optional[str] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Observation(_message.Message):
    __slots__ = ("observed_at", "category", "correlation_id", "buckets", "refused", "is_read", "refill_mode")
    OBSERVED_AT_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    IS_READ_FIELD_NUMBER: _ClassVar[int]
    REFILL_MODE_FIELD_NUMBER: _ClassVar[int]
    observed_at: _timestamp_pb2.Timestamp
    category: str
    correlation_id: str
    buckets: _containers.RepeatedCompositeFieldContainer[BucketObservation]
    refused: _containers.RepeatedScalarFieldContainer[str]
    is_read: bool
    refill_mode: RefillMode
    def __init__(self, observed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., category: _Optional[str] = ..., correlation_id: _Optional[str] = ..., buckets: _Optional[_Iterable[_Union[BucketObservation, _Mapping]]] = ..., refused: _Optional[_Iterable[str]] = ..., is_read: _Optional[bool] = ..., refill_mode: _Optional[_Union[RefillMode, str]] = ...) -> None: ...

class BucketObservation(_message.Message):
    __slots__ = ("policy", "available_tokens", "capacity", "refill_tokens", "refill_period_seconds", "response_counts", "consumption_rate_per_minute", "recovery_eta_seconds", "exhaustion_projection_seconds", "error_404_rate", "error_429_rate", "lowest_available_tokens")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    REFILL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REFILL_PERIOD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_COUNTS_FIELD_NUMBER: _ClassVar[int]
    CONSUMPTION_RATE_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    RECOVERY_ETA_SECONDS_FIELD_NUMBER: _ClassVar[int]
    EXHAUSTION_PROJECTION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_404_RATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_429_RATE_FIELD_NUMBER: _ClassVar[int]
    LOWEST_AVAILABLE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    policy: str
    available_tokens: int
    capacity: int
    refill_tokens: int
    refill_period_seconds: int
    response_counts: ResponseCounts
    consumption_rate_per_minute: float
    recovery_eta_seconds: float
    exhaustion_projection_seconds: float
    error_404_rate: float
    error_429_rate: float
    lowest_available_tokens: int
    def __init__(self, policy: _Optional[str] = ..., available_tokens: _Optional[int] = ..., capacity: _Optional[int] = ..., refill_tokens: _Optional[int] = ..., refill_period_seconds: _Optional[int] = ..., response_counts: _Optional[_Union[ResponseCounts, _Mapping]] = ..., consumption_rate_per_minute: _Optional[float] = ..., recovery_eta_seconds: _Optional[float] = ..., exhaustion_projection_seconds: _Optional[float] = ..., error_404_rate: _Optional[float] = ..., error_429_rate: _Optional[float] = ..., lowest_available_tokens: _Optional[int] = ...) -> None: ...

class ResponseCounts(_message.Message):
    __slots__ = ("total", "not_found", "rate_limited", "instance")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    NOT_FOUND_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMITED_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    total: int
    not_found: int
    rate_limited: int
    instance: str
    def __init__(self, total: _Optional[int] = ..., not_found: _Optional[int] = ..., rate_limited: _Optional[int] = ..., instance: _Optional[str] = ...) -> None: ...

import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetRateLimitPoliciesRequest(_message.Message):
    __slots__ = ("requesting_participant",)
    REQUESTING_PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    requesting_participant: str
    def __init__(self, requesting_participant: _Optional[str] = ...) -> None: ...

class GetRateLimitPoliciesResponse(_message.Message):
    __slots__ = ("correlation_id", "response_time", "category", "policies")
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_TIME_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    correlation_id: str
    response_time: _timestamp_pb2.Timestamp
    category: str
    policies: _containers.RepeatedCompositeFieldContainer[RateLimitPolicy]
    def __init__(self, correlation_id: _Optional[str] = ..., response_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., category: _Optional[str] = ..., policies: _Optional[_Iterable[_Union[RateLimitPolicy, _Mapping]]] = ...) -> None: ...

class GetRateLimitPolicyRequest(_message.Message):
    __slots__ = ("requesting_participant", "policy_name")
    REQUESTING_PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    POLICY_NAME_FIELD_NUMBER: _ClassVar[int]
    requesting_participant: str
    policy_name: str
    def __init__(self, requesting_participant: _Optional[str] = ..., policy_name: _Optional[str] = ...) -> None: ...

class GetRateLimitPolicyResponse(_message.Message):
    __slots__ = ("correlation_id", "response_time", "category", "policy")
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_TIME_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    correlation_id: str
    response_time: _timestamp_pb2.Timestamp
    category: str
    policy: RateLimitPolicy
    def __init__(self, correlation_id: _Optional[str] = ..., response_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., category: _Optional[str] = ..., policy: _Optional[_Union[RateLimitPolicy, _Mapping]] = ...) -> None: ...

class RateLimitPolicy(_message.Message):
    __slots__ = ("name", "available_tokens", "capacity", "refill_tokens", "refill_period_sec", "response_counts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    REFILL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REFILL_PERIOD_SEC_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_COUNTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    available_tokens: int
    capacity: int
    refill_tokens: int
    refill_period_sec: int
    response_counts: ResponseCounts
    def __init__(self, name: _Optional[str] = ..., available_tokens: _Optional[int] = ..., capacity: _Optional[int] = ..., refill_tokens: _Optional[int] = ..., refill_period_sec: _Optional[int] = ..., response_counts: _Optional[_Union[ResponseCounts, _Mapping]] = ...) -> None: ...

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

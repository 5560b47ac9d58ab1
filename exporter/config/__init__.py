"""Settings: one YAML file, every key overridable by the environment, validated at the edge.

``DICT_RATE_LIMIT_BRIDGE__TARGET`` sets ``bridge.target``; a secret also comes from
the file that ``..._FILE`` names; a list is written with commas, labels as
``name=value``. Durations are written as in Prometheus (``15s``, ``1h30m``).
Unknown keys are errors.
"""

from exporter.config.configuration import Configuration, load_settings, read_document
from exporter.config.environment import ENVIRONMENT_PREFIX
from exporter.config.schema import json_schema
from exporter.config.secrets import MASK, Secret, SecretFile, masked, without_secrets
from exporter.config.settings import (
    AlertmanagerSettings,
    BasicAuthSettings,
    BridgeSettings,
    DatabaseSettings,
    FeedSettings,
    PollSettings,
    PulsarSettings,
    PulsarTlsSettings,
    RulesSettings,
    Settings,
    TlsSettings,
    WebSettings,
    keys,
    value_of,
)
from exporter.config.validation import Problem

__all__ = [
    "ENVIRONMENT_PREFIX",
    "MASK",
    "AlertmanagerSettings",
    "BasicAuthSettings",
    "BridgeSettings",
    "Configuration",
    "DatabaseSettings",
    "FeedSettings",
    "PollSettings",
    "Problem",
    "PulsarSettings",
    "PulsarTlsSettings",
    "RulesSettings",
    "Secret",
    "SecretFile",
    "Settings",
    "TlsSettings",
    "WebSettings",
    "json_schema",
    "keys",
    "load_settings",
    "masked",
    "read_document",
    "value_of",
    "without_secrets",
]

"""Prometheus exporter and rules-based alerting for the token buckets of DICT, the Pix key directory."""

from __future__ import annotations

__version__: str


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not imported before it is asked for: it takes longer than all that Ctrl-C must wait for.
    from importlib.metadata import version

    return version("dict-rate-limit-exporter")

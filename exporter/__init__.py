"""Prometheus exporter and rules-based alerting for the token buckets of DICT, the Pix key directory."""

from importlib.metadata import version

__version__ = version("dict-rate-limit-exporter")

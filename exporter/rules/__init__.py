"""Prometheus rule files, compiled."""

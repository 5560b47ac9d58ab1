"""Grafana's dashboards, made by code: ``python -m grafana.generate``."""

"""The ten metrics and the program's own: declared once, rendered when they change, joined at the scrape."""

from exporter.metrics.registry import Metrics

__all__ = ["Metrics"]

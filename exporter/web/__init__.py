"""The HTTP side: metrics, health, reload, JSON, status page."""

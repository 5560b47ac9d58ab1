"""Alerts: what a rule must answer, and the life of an alert. Pure: no I/O, no clock, no settings."""

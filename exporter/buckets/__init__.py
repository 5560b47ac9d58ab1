"""Buckets and what can be said of them. Pure: no I/O, no clock, no settings."""

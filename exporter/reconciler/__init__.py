"""Polls through rules and into PostgreSQL: one process leads, others wait."""

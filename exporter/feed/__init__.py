"""Polls on their way from the exporter to the reconciler."""

"""Committed alerts to Alertmanager: what the database says fires, told again and again; what has ended, for a while.

Each Alertmanager gets everything, and waits for no other. Only who holds the
lease, by its own clock, sends. While the database is away that is so until the
lease ends: the last thing said then is that what fires goes on for a day, so that
silence ends no alert. Whoever takes the lease next tells what has ended meanwhile.
"""

from exporter.notifier.notifier import Notifier

__all__ = ["Notifier"]

"""Committed alerts to Alertmanager: what the database says fires, again and again; what has resolved, for a while.

Each Alertmanager gets everything, and waits for no other. Only the holder of the lease, by its own clock, sends. While
the database is away that is so until the lease ends: the last request says that what fires goes on for a day, so that
silence ends no alert. The next leader sends what has resolved meanwhile.
"""

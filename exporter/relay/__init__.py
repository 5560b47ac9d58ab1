"""Outbox to Pulsar: at least once, in order per alert, one message in flight.

A row's sequence id is committed before the first send, and the row is marked after the broker's receipt. What was sent
and not marked is sent again with the same id, which a deduplicating broker acknowledges and drops. The producer's name
belongs to the database, and its ids are above all that either side knows.
"""

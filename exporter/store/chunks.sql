-- Compacted history.

-- due --
-- Each participant's first hour of rows that is to be compacted, the oldest first, with its age in seconds. What
-- "compact_after" reaches back to is counted from the last answered poll (of a month): a participant's last states and
-- polls stay as they are, also where it is polled no more.
WITH RECURSIVE participants (participant) AS (
       SELECT min(participant) FROM dict_rate_limit_reconciliation_rows
        UNION ALL
       SELECT (SELECT min(r.participant) FROM dict_rate_limit_reconciliation_rows AS r WHERE r.participant > p.participant)
         FROM participants AS p
        WHERE p.participant IS NOT NULL)
SELECT p.participant, hours.hour, extract(epoch FROM clock_timestamp() - hours.hour)::float8
  FROM participants AS p
  LEFT JOIN unnest(%(participants)s::text[], %(passed)s::timestamptz[]) AS refused (participant, passed) USING (participant)
 CROSS JOIN LATERAL (
       SELECT date_trunc('hour', polled_at, 'UTC') AS hour
         FROM dict_rate_limit_reconciliation_rows
        WHERE participant = p.participant AND polled_at >= coalesce(refused.passed, '-infinity')
        ORDER BY polled_at
        LIMIT 1) AS hours
  LEFT JOIN LATERAL (
       SELECT polled_at
         FROM dict_rate_limit_reconciliation_rows
        WHERE participant = p.participant AND answered AND polled_at > now() - interval '31 days'
        ORDER BY polled_at DESC
        LIMIT 1) AS last ON true
 WHERE hours.hour + interval '1 hour'
       <= least(coalesce(last.polled_at, now() - interval '31 days'), now()) - make_interval(secs => %(compact_after_seconds)s)
 ORDER BY hours.hour;

-- compact --
-- Compacts an hour of a participant.
SELECT coalesce(polls, 0), coalesce(states, 0) FROM dict_rate_limit_compact(%(participant)s, %(hour)s);

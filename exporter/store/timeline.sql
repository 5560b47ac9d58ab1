-- What the pages of a bucket and of past alerts read. No statement takes longer than its transaction says.

-- bound --
-- Limits how long each statement of this transaction may take.
SELECT set_config('statement_timeout', %(milliseconds)s::text, true);

-- buckets --
-- The policies that a participant has, or had.
SELECT policy FROM dict_rate_limit_policies WHERE participant = %(participant)s::text ORDER BY policy;

-- participants --
-- Every participant that ever had a bucket.
SELECT DISTINCT participant FROM dict_rate_limit_policies ORDER BY participant;

-- steps --
-- A bucket by steps of time: the state that each ended with, and the last answered poll by then. Two index probes for a
-- step, however many states there are; of what is compacted the last two chunks that have begun by then, each opened once.
WITH steps AS MATERIALIZED (
       SELECT n,
              %(since)s::timestamptz + n * %(step)s::interval AS begins,
              %(since)s::timestamptz + (n + 1) * %(step)s::interval AS ends
         FROM generate_series(0, %(steps)s::int - 1) AS n),
     hours AS MATERIALIZED (
       SELECT DISTINCT last.hour
         FROM steps
        CROSS JOIN LATERAL (
              SELECT hour
                FROM dict_rate_limit_chunks
               WHERE participant = %(participant)s::text
                 AND hour < steps.ends
                 AND hour > steps.begins - greatest(%(held)s::interval, %(quiet)s::interval) - interval '1 hour'
               ORDER BY hour DESC
               LIMIT 2) AS last),
     chunk_states AS MATERIALIZED (
       SELECT DISTINCT ON (n)
              floor(extract(epoch FROM s.observed_at - %(since)s::timestamptz)
                    / extract(epoch FROM %(step)s::interval))::int AS n,
              s.observed_at, s.polled_at, s.available_tokens, s.capacity, s.refill_tokens, s.refill_period_seconds,
              s.consumption_rate_per_minute
         FROM hours
         JOIN dict_rate_limit_chunks AS c ON c.participant = %(participant)s::text AND c.hour = hours.hour
        CROSS JOIN LATERAL dict_rate_limit_states_of(c) AS s
        WHERE s.policy = %(policy)s::text
        ORDER BY n, s.observed_at DESC, s.polled_at DESC),
     chunk_polls AS MATERIALIZED (
       SELECT DISTINCT ON (n)
              floor(extract(epoch FROM p.polled_at - %(since)s::timestamptz)
                    / extract(epoch FROM %(step)s::interval))::int AS n,
              p.polled_at, k.interval_seconds
         FROM hours
         JOIN dict_rate_limit_chunks AS c ON c.participant = %(participant)s::text AND c.hour = hours.hour
        CROSS JOIN LATERAL dict_rate_limit_poll_times_of(c) AS p
        CROSS JOIN LATERAL jsonb_to_recordset(c.kinds)
              AS k (kind smallint, interval_seconds float8, answered boolean, is_read boolean, policies_refused text[])
        WHERE k.kind = p.kind
          AND k.answered
          AND NOT k.is_read
          AND %(policy)s::text <> ALL (coalesce(k.policies_refused, '{}'))
        ORDER BY n, p.polled_at DESC)
SELECT steps.n,
       poll.polled_at,
       poll.interval_seconds,
       state.observed_at,
       state.available_tokens,
       state.capacity,
       state.refill_tokens,
       state.refill_period_seconds,
       state.consumption_rate_per_minute
  FROM steps
  LEFT JOIN LATERAL (
       SELECT *
         FROM ((SELECT observed_at, polled_at, available_tokens, capacity, refill_tokens, refill_period_seconds,
                       consumption_rate_per_minute
                  FROM dict_rate_limit_state_rows
                 WHERE participant = %(participant)s::text
                   AND policy = %(policy)s::text
                   AND observed_at < steps.ends
                   AND observed_at >= steps.begins - %(held)s::interval
                 ORDER BY observed_at DESC, polled_at DESC
                 LIMIT 1)
                UNION ALL
               (SELECT observed_at, polled_at, available_tokens, capacity, refill_tokens, refill_period_seconds,
                       consumption_rate_per_minute
                  FROM chunk_states
                 WHERE n <= steps.n AND observed_at >= steps.begins - %(held)s::interval
                 ORDER BY n DESC
                 LIMIT 1)) AS either
        ORDER BY observed_at DESC, polled_at DESC
        LIMIT 1) AS state ON true
  LEFT JOIN LATERAL (
       SELECT *
         FROM ((SELECT polled_at, interval_seconds
                  FROM dict_rate_limit_reconciliation_rows
                 WHERE participant = %(participant)s::text
                   AND answered
                   AND NOT is_read
                   AND %(policy)s::text <> ALL (coalesce(policies_refused, '{}'))
                   AND polled_at < steps.ends
                   AND polled_at >= steps.begins - %(quiet)s::interval
                 ORDER BY polled_at DESC
                 LIMIT 1)
                UNION ALL
               (SELECT polled_at, interval_seconds
                  FROM chunk_polls
                 WHERE n <= steps.n AND polled_at >= steps.begins - %(quiet)s::interval
                 ORDER BY n DESC
                 LIMIT 1)) AS either
        ORDER BY polled_at DESC
        LIMIT 1) AS poll ON true
 ORDER BY steps.n;

-- extremes --
-- By the same steps: the fewest and most tokens that were written in each, and the most consumption. Where a state
-- counts more 429s than the one before it, the bucket was empty meanwhile.
SELECT round(extract(epoch FROM begins - %(since)s::timestamptz) / extract(epoch FROM %(step)s::interval))::int,
       lowest,
       highest,
       most_consumed
  FROM (SELECT date_bin(%(step)s::interval, observed_at, %(since)s::timestamptz) AS begins,
               min(CASE WHEN refused > refused_before AND instance = instance_before
                        THEN least(available_tokens, 0)
                        ELSE available_tokens
                    END) AS lowest,
               max(available_tokens) AS highest,
               max(consumption_rate_per_minute) AS most_consumed
          FROM (SELECT observed_at,
                       available_tokens,
                       consumption_rate_per_minute,
                       responses_rate_limited AS refused,
                       lag(responses_rate_limited) OVER by_time AS refused_before,
                       responses_instance AS instance,
                       lag(responses_instance) OVER by_time AS instance_before
                  FROM dict_rate_limit_states_between(
                       %(since)s::timestamptz, %(since)s::timestamptz + %(steps)s::int * %(step)s::interval)
                 WHERE participant = %(participant)s::text
                   AND policy = %(policy)s::text
                WINDOW by_time AS (ORDER BY observed_at, polled_at)) AS states
         GROUP BY 1) AS steps;

-- bands --
-- When alerts about a bucket fired, the newest first.
SELECT alertname, severity, firing_since, resolved_at
  FROM dict_rate_limit_alerts
 WHERE participant = %(participant)s::text
   AND policy = %(policy)s::text
   AND firing_since < %(until)s::timestamptz
   AND active_since < %(until)s::timestamptz
   AND (resolved_at IS NULL OR resolved_at >= %(since)s::timestamptz)
 ORDER BY active_since DESC, id DESC
 LIMIT %(limit)s::int;

-- changes --
-- What the newest alerts about a bucket did, the last change first, with what its bucket held then.
SELECT a.alertname,
       a.severity,
       t.state,
       t.changed_at,
       t.reason,
       t.available_tokens,
       t.capacity,
       a.active_since,
       a.firing_since,
       a.keep_firing_since
  FROM (SELECT fingerprint, alertname, severity, active_since, firing_since, keep_firing_since
          FROM dict_rate_limit_alerts
         WHERE participant = %(participant)s::text
           AND policy = %(policy)s::text
           AND active_since < %(until)s::timestamptz
         ORDER BY active_since DESC, id DESC
         LIMIT %(limit)s::int) AS a
  JOIN dict_rate_limit_alert_transitions AS t ON t.fingerprint = a.fingerprint AND t.active_since = a.active_since
 WHERE t.changed_at < %(until)s::timestamptz
 ORDER BY t.changed_at DESC, t.state DESC, a.alertname
 LIMIT %(limit)s::int;

-- alerts --
-- Alerts that were open in a span of time. The order and the page are added to it.
SELECT fingerprint, alertname, severity, participant, policy, state, active_since, firing_since, resolved_at, reason,
       annotations ->> 'summary', annotations ->> 'runbook_url'
  FROM dict_rate_limit_alerts
 WHERE participant BETWEEN rpad(%(participant)s::text, 8, '0') AND rpad(%(participant)s::text, 8, '9')
   AND (%(policy)s::text = '' OR policy = %(policy)s::text)
   AND (%(name)s::text = '' OR alertname = %(name)s::text)
   AND (%(severity)s::text = '' OR severity = %(severity)s::text)
   AND (%(state)s::text = '' OR state = %(state)s::text)
   AND active_since < %(until)s::timestamptz
   AND (resolved_at IS NULL OR resolved_at >= %(since)s::timestamptz);

-- lowest --
-- How low the buckets of these alerts were while they were open, and of how many tokens.
SELECT a.n, least(state.lowest, change.lowest), coalesce(change.capacity, state.capacity)
  FROM unnest(%(fingerprints)s::text[], %(participants)s::text[], %(policies)s::text[], %(since)s::timestamptz[],
              %(until)s::timestamptz[])
       WITH ORDINALITY AS a (fingerprint, participant, policy, since, until, n)
 CROSS JOIN LATERAL (
       SELECT least(min(available_tokens), min(lowest_available_tokens)) AS lowest, max(capacity) AS capacity
         FROM dict_rate_limit_states_between(a.since - interval '5 minutes', a.until + interval '5 minutes')
        WHERE participant = a.participant
          AND policy = a.policy
          AND polled_at BETWEEN a.since AND a.until) AS state
 CROSS JOIN LATERAL (
       SELECT min(available_tokens) AS lowest, max(capacity) AS capacity
         FROM dict_rate_limit_alert_transitions
        WHERE fingerprint = a.fingerprint AND active_since = a.since) AS change;

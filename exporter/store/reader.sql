-- What is read back.

-- alerts --
-- Alerts, the newest first.
SELECT fingerprint, rule_group, alertname, severity, participant, policy, labels, annotations, value, state,
       active_since, firing_since, keep_firing_since, resolved_at, reason
  FROM dict_rate_limit_alerts
 WHERE (%(include_resolved)s::boolean OR state IN ('pending', 'firing'))
   AND (%(participant)s::text IS NULL OR participant = %(participant)s::text)
   AND (%(policy)s::text IS NULL OR policy = %(policy)s::text)
   AND (%(alertname)s::text IS NULL OR alertname = %(alertname)s::text)
   AND (%(severity)s::text IS NULL OR severity = %(severity)s::text)
   AND (%(since)s::timestamptz IS NULL OR resolved_at IS NULL OR resolved_at >= %(since)s::timestamptz)
   AND (%(until)s::timestamptz IS NULL OR active_since < %(until)s::timestamptz)
 ORDER BY active_since DESC, id DESC
 LIMIT %(limit)s::int;

-- alert_names --
-- The names of all alerts that there ever were.
SELECT DISTINCT alertname FROM dict_rate_limit_alerts ORDER BY alertname;

-- policies --
-- The policies of all buckets that participants still have, or have ever had.
SELECT DISTINCT policy
  FROM dict_rate_limit_policies
 WHERE gone_at IS NULL OR %(include_removed)s::boolean;

-- activity --
-- The leader (null: none), and the last evaluation for any of these participants, how often there is one, and how old it
-- is, by this clock.
SELECT (SELECT holder FROM dict_rate_limit_lease WHERE expires_at > clock_timestamp()),
       last.polled_at,
       last.interval_seconds,
       extract(epoch FROM clock_timestamp() - last.polled_at)::float8
  FROM (SELECT 1) AS one
  LEFT JOIN LATERAL (
       SELECT r.polled_at, r.interval_seconds
         FROM unnest(%(participants)s::text[]) AS p (participant)
        CROSS JOIN LATERAL (
              SELECT polled_at, interval_seconds
                FROM dict_rate_limit_reconciliation_rows
               WHERE participant = p.participant AND evaluated
               ORDER BY polled_at DESC
               LIMIT 1) AS r
        ORDER BY r.polled_at DESC
        LIMIT 1) AS last ON true;

-- participants --
-- Every participant that was ever polled: two index probes each.
WITH RECURSIVE participants (participant) AS (
       SELECT least((SELECT min(participant) FROM dict_rate_limit_reconciliation_rows),
                    (SELECT min(participant) FROM dict_rate_limit_chunks))
        UNION ALL
       SELECT least(
              (SELECT min(r.participant) FROM dict_rate_limit_reconciliation_rows AS r WHERE r.participant > p.participant),
              (SELECT min(c.participant) FROM dict_rate_limit_chunks AS c WHERE c.participant > p.participant))
         FROM participants AS p
        WHERE p.participant IS NOT NULL)
SELECT participant FROM participants WHERE participant IS NOT NULL;

-- first_poll --
-- When a participant's first poll at or after a time was; where it is in a chunk, a time in that hour at or before it.
SELECT least(
       (SELECT polled_at
          FROM dict_rate_limit_reconciliation_rows
         WHERE participant = %(participant)s::text
           AND polled_at >= %(since)s::timestamptz
           AND polled_at < %(until)s::timestamptz
         ORDER BY polled_at
         LIMIT 1),
       (SELECT greatest(hour, %(since)s::timestamptz)
          FROM dict_rate_limit_chunks
         WHERE participant = %(participant)s::text
           AND hour > %(since)s::timestamptz - interval '1 hour'
           AND hour < %(until)s::timestamptz
         ORDER BY hour
         LIMIT 1));

-- reconciliations --
-- A page of a participant's polls, in order, after a key.
SELECT polled_at, stream_id, sequence, interval_seconds, staleness_seconds, duration_seconds, clock_skew_seconds,
       last_success_at, known_category, category_changed_at, previous_category, stream_began_at, traceparent, answered,
       observed_at, category, correlation_id, failure_code, failure_message, complete, policies, policies_refused,
       evaluated, is_read
  FROM dict_rate_limit_reconciliations_between(%(since)s::timestamptz, %(until)s::timestamptz)
 WHERE participant = %(participant)s::text
   AND (polled_at, stream_id, sequence) > (%(after_at)s::timestamptz, %(after_stream)s::text, %(after_sequence)s::bigint)
 ORDER BY polled_at, stream_id, sequence
 LIMIT %(limit)s::int;

-- chain_before --
-- A stream's answered polls from the last one that was written in full, up to a poll: a heartbeat is a day at most.
SELECT polled_at, stream_id, sequence, interval_seconds, staleness_seconds, duration_seconds, clock_skew_seconds,
       last_success_at, known_category, category_changed_at, previous_category, stream_began_at, traceparent, answered,
       observed_at, category, correlation_id, failure_code, failure_message, complete, policies, policies_refused,
       evaluated, is_read
  FROM dict_rate_limit_reconciliations_between(
       %(before)s::timestamptz - interval '25 hours', %(before)s::timestamptz)
 WHERE participant = %(participant)s::text
   AND stream_id = %(stream_id)s::text
   AND answered
   AND polled_at >= (
       SELECT r.polled_at
         FROM dict_rate_limit_reconciliations_between(
              %(before)s::timestamptz - interval '25 hours', %(before)s::timestamptz) AS r
        WHERE r.participant = %(participant)s::text
          AND r.stream_id = %(stream_id)s::text
          AND r.complete
        ORDER BY r.polled_at DESC
        LIMIT 1)
 ORDER BY polled_at, sequence;

-- states --
-- The states that were written at a span of polls. Names the policies, so that each is a range of the primary key, and the
-- hours of the polls, so that no other chunk is read.
SELECT policy, available_tokens, capacity, refill_tokens, refill_period_seconds, responses_total,
       responses_not_found, responses_rate_limited, responses_instance, consumption_rate_per_minute,
       exhaustion_projection_seconds, error_404_rate, error_429_rate, lowest_available_tokens, observed_at, polled_at
  FROM (SELECT policy, available_tokens, capacity, refill_tokens, refill_period_seconds, responses_total,
               responses_not_found, responses_rate_limited, responses_instance, consumption_rate_per_minute,
               exhaustion_projection_seconds, error_404_rate, error_429_rate, lowest_available_tokens,
               observed_at, polled_at
          FROM dict_rate_limit_state_rows
         WHERE participant = %(participant)s::text
           AND policy = ANY (ARRAY(SELECT policy FROM dict_rate_limit_policies WHERE participant = %(participant)s::text))
           AND observed_at BETWEEN %(observed_from)s::timestamptz AND %(observed_to)s::timestamptz
         UNION ALL
        SELECT s.policy, s.available_tokens, s.capacity, s.refill_tokens, s.refill_period_seconds, s.responses_total,
               s.responses_not_found, s.responses_rate_limited, s.responses_instance, s.consumption_rate_per_minute,
               s.exhaustion_projection_seconds, s.error_404_rate, s.error_429_rate, s.lowest_available_tokens,
               s.observed_at, s.polled_at
          FROM dict_rate_limit_chunks AS c
         CROSS JOIN LATERAL dict_rate_limit_states_of(c) AS s
         WHERE c.participant = %(participant)s::text
           AND c.hour > %(polled_from)s::timestamptz - interval '1 hour'
           AND c.hour <= %(polled_to)s::timestamptz) AS states
 WHERE polled_at BETWEEN %(polled_from)s::timestamptz AND %(polled_to)s::timestamptz;

-- highest_utilization --
-- A participant's buckets by steps of time in which they were written: the highest utilization, and the last one
-- (as the greatest pair: ordering 45,000 rows would go to disk).
SELECT policy,
       date_bin(%(step)s::interval, observed_at, 'epoch') AS step,
       max(greatest(
           utilization_percent,
           100.0 - 100.0 * greatest(coalesce(lowest_available_tokens, available_tokens), 0) / capacity)),
       (max(ARRAY[extract(epoch FROM observed_at)::float8, utilization_percent]))[2]
  FROM dict_rate_limit_states_between(%(since)s::timestamptz, 'infinity')
 WHERE participant = %(participant)s::text
   AND policy = ANY (ARRAY(SELECT policy
                             FROM dict_rate_limit_policies
                            WHERE participant = %(participant)s::text AND gone_at IS NULL))
 GROUP BY policy, step
 ORDER BY policy, step;

-- steps_answered --
-- The steps of time in which a participant's polls were answered.
SELECT DISTINCT date_bin(%(step)s::interval, polled_at, 'epoch') AS step
  FROM dict_rate_limit_reconciliations_between(%(since)s::timestamptz, 'infinity')
 WHERE participant = %(participant)s::text
   AND answered
 ORDER BY step;

-- outbox_stats --
-- How much waits for the broker, for how long, and what could never be sent.
SELECT pending.count,
       coalesce(extract(epoch FROM now() - oldest.created_at), 0)::float8,
       dead.count
  FROM (SELECT count(*) FROM dict_rate_limit_outbox WHERE state = 'pending') AS pending
 CROSS JOIN (SELECT count(*) FROM dict_rate_limit_outbox WHERE state = 'dead') AS dead
  LEFT JOIN (SELECT created_at FROM dict_rate_limit_outbox WHERE state = 'pending' ORDER BY id LIMIT 1) AS oldest ON true;

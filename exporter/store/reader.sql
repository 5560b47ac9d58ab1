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
                FROM dict_rate_limit_reconciliations
               WHERE participant = p.participant AND evaluated
               ORDER BY polled_at DESC
               LIMIT 1) AS r
        ORDER BY r.polled_at DESC
        LIMIT 1) AS last ON true;

-- participants --
-- Every participant that was ever polled: one index probe each.
WITH RECURSIVE participants (participant) AS (
       SELECT min(participant) FROM dict_rate_limit_reconciliations
        UNION ALL
       SELECT (SELECT min(r.participant) FROM dict_rate_limit_reconciliations AS r WHERE r.participant > p.participant)
         FROM participants AS p
        WHERE p.participant IS NOT NULL)
SELECT participant FROM participants WHERE participant IS NOT NULL;

-- reconciliations --
-- A page of a participant's polls, in order, after a key.
SELECT polled_at, stream_id, sequence, interval_seconds, staleness_seconds, duration_seconds, clock_skew_seconds,
       last_success_at, known_category, category_changed_at, previous_category, stream_began_at, traceparent, answered,
       observed_at, category, correlation_id, failure_code, failure_message, complete, policies, policies_refused,
       evaluated, is_read
  FROM dict_rate_limit_reconciliations
 WHERE participant = %(participant)s::text
   AND polled_at >= %(since)s::timestamptz
   AND polled_at < coalesce(%(until)s::timestamptz, 'infinity')
   AND (polled_at, stream_id, sequence) > (%(after_at)s::timestamptz, %(after_stream)s::text, %(after_sequence)s::bigint)
 ORDER BY polled_at, stream_id, sequence
 LIMIT %(limit)s::int;

-- chain_before --
-- A stream's answered polls from the last one that was written in full, up to a poll.
SELECT polled_at, stream_id, sequence, interval_seconds, staleness_seconds, duration_seconds, clock_skew_seconds,
       last_success_at, known_category, category_changed_at, previous_category, stream_began_at, traceparent, answered,
       observed_at, category, correlation_id, failure_code, failure_message, complete, policies, policies_refused,
       evaluated, is_read
  FROM dict_rate_limit_reconciliations
 WHERE participant = %(participant)s::text
   AND stream_id = %(stream_id)s::text
   AND answered
   AND polled_at < %(before)s::timestamptz
   AND polled_at >= (
       SELECT r.polled_at
         FROM dict_rate_limit_reconciliations AS r
        WHERE r.participant = %(participant)s::text
          AND r.stream_id = %(stream_id)s::text
          AND r.complete
          AND r.polled_at < %(before)s::timestamptz
        ORDER BY r.polled_at DESC
        LIMIT 1)
 ORDER BY polled_at, sequence;

-- states --
-- The states that were written at a span of polls. Names the policies, so that each is a range of the primary key.
SELECT policy, available_tokens, capacity, refill_tokens, refill_period_seconds, responses_total,
       responses_not_found, responses_rate_limited, responses_instance, consumption_rate_per_minute,
       exhaustion_projection_seconds, error_404_rate, error_429_rate, lowest_available_tokens, observed_at, polled_at
  FROM dict_rate_limit_states
 WHERE participant = %(participant)s::text
   AND policy = ANY (ARRAY(SELECT policy FROM dict_rate_limit_policies WHERE participant = %(participant)s::text))
   AND observed_at BETWEEN %(observed_from)s::timestamptz AND %(observed_to)s::timestamptz
   AND polled_at BETWEEN %(polled_from)s::timestamptz AND %(polled_to)s::timestamptz;

-- highest_utilization --
-- A participant's buckets by steps of time in which they were written: the highest utilization, and the last one
-- (as the greatest pair: ordering 45,000 rows would go to disk).
SELECT policy,
       date_bin(%(step)s::interval, observed_at, 'epoch') AS step,
       max(greatest(
           utilization_percent,
           100.0 - 100.0 * greatest(coalesce(lowest_available_tokens, available_tokens), 0) / capacity)),
       (max(ARRAY[extract(epoch FROM observed_at)::float8, utilization_percent]))[2]
  FROM dict_rate_limit_states
 WHERE participant = %(participant)s::text
   AND policy = ANY (ARRAY(SELECT policy
                             FROM dict_rate_limit_policies
                            WHERE participant = %(participant)s::text AND gone_at IS NULL))
   AND observed_at >= %(since)s::timestamptz
 GROUP BY policy, step
 ORDER BY policy, step;

-- steps_answered --
-- The steps of time in which a participant's polls were answered.
SELECT DISTINCT date_bin(%(step)s::interval, polled_at, 'epoch') AS step
  FROM dict_rate_limit_reconciliations
 WHERE participant = %(participant)s::text
   AND polled_at >= %(since)s::timestamptz
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

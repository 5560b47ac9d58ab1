-- What a batch of reconciled polls writes: one statement per kind, rows as arrays.

-- already_reconciled --
-- Which polls of the batch (by their index in it, from 1) the database holds already, from a commit whose outcome was unknown.
SELECT b.place
  FROM unnest(%(participant)s::text[], %(polled_at)s::timestamptz[], %(stream_id)s::text[], %(sequence)s::bigint[])
       WITH ORDINALITY AS b (participant, polled_at, stream_id, sequence, place)
 WHERE EXISTS (
       SELECT FROM dict_rate_limit_reconciliation_rows AS r
        WHERE r.participant = b.participant
          AND r.polled_at = b.polled_at
          AND r.stream_id = b.stream_id
          AND r.sequence = b.sequence
       )
    OR EXISTS (
       SELECT FROM dict_rate_limit_chunks AS c
        CROSS JOIN LATERAL dict_rate_limit_polls_of(c) AS r
        WHERE c.participant = b.participant
          AND c.hour = date_trunc('hour', b.polled_at, 'UTC')
          AND r.polled_at = b.polled_at
          AND r.stream_id = b.stream_id
          AND r.sequence = b.sequence
       );

-- recorded_policies --
-- The policies that participants have, for a writer that doesn't know them yet.
SELECT participant, policy, capacity, refill_tokens, refill_period_seconds
  FROM dict_rate_limit_policies
 WHERE participant = ANY (%(participants)s::text[]) AND gone_at IS NULL;

-- insert_states --
-- Bucket states that changed, or whose heartbeat was due.
INSERT INTO dict_rate_limit_state_rows (
       participant, observed_at, polled_at, category, policy, available_tokens, capacity, refill_tokens,
       refill_period_seconds, utilization_percent, recovery_eta_seconds, responses_total, responses_not_found,
       responses_rate_limited, responses_instance, consumption_rate_per_minute, exhaustion_projection_seconds,
       error_404_rate, error_429_rate, lowest_available_tokens)
SELECT p.participant, p.observed_at, p.polled_at, p.category, s.policy, s.available_tokens, s.capacity,
       s.refill_tokens, s.refill_period_seconds,
       100.0::float8 * (s.capacity - least(greatest(s.available_tokens, 0), s.capacity)) / s.capacity,
       greatest(0, s.capacity::float8 - s.available_tokens) * s.refill_period_seconds / s.refill_tokens,
       s.responses_total, s.responses_not_found, s.responses_rate_limited, s.responses_instance,
       s.consumption_rate_per_minute, s.exhaustion_projection_seconds, s.error_404_rate, s.error_429_rate,
       s.lowest_available_tokens
  FROM unnest(
       %(place)s::int[], %(policy)s::text[], %(available_tokens)s::bigint[], %(capacity)s::bigint[],
       %(refill_tokens)s::bigint[], %(refill_period_seconds)s::bigint[], %(responses_total)s::bigint[],
       %(responses_not_found)s::bigint[], %(responses_rate_limited)s::bigint[], %(responses_instance)s::text[],
       %(consumption_rate_per_minute)s::float8[], %(exhaustion_projection_seconds)s::float8[],
       %(error_404_rate)s::float8[], %(error_429_rate)s::float8[], %(lowest_available_tokens)s::bigint[])
       AS s (place, policy, available_tokens, capacity, refill_tokens, refill_period_seconds, responses_total,
             responses_not_found, responses_rate_limited, responses_instance, consumption_rate_per_minute,
             exhaustion_projection_seconds, error_404_rate, error_429_rate, lowest_available_tokens)
  JOIN unnest(
       %(participants)s::text[], %(observed_at)s::timestamptz[], %(polled_at)s::timestamptz[], %(category)s::text[])
       WITH ORDINALITY AS p (participant, observed_at, polled_at, category, place) USING (place)
    ON CONFLICT DO NOTHING;

-- upsert_policies --
-- Policies that were added, removed, or whose capacity or refill changed.
INSERT INTO dict_rate_limit_policies AS known (
       participant, policy, capacity, refill_tokens, refill_period_seconds, first_seen_at, changed_at, gone_at)
SELECT participant, policy, capacity, refill_tokens, refill_period_seconds, first_seen_at, changed_at, gone_at
  FROM unnest(
       %(participant)s::text[], %(policy)s::text[], %(capacity)s::bigint[], %(refill_tokens)s::bigint[],
       %(refill_period_seconds)s::bigint[], %(first_seen_at)s::timestamptz[], %(changed_at)s::timestamptz[],
       %(gone_at)s::timestamptz[])
       AS u (participant, policy, capacity, refill_tokens, refill_period_seconds, first_seen_at, changed_at, gone_at)
    ON CONFLICT (participant, policy) DO UPDATE
   SET capacity = excluded.capacity,
       refill_tokens = excluded.refill_tokens,
       refill_period_seconds = excluded.refill_period_seconds,
       changed_at = excluded.changed_at,
       gone_at = excluded.gone_at;

-- insert_reconciliations --
-- One row per poll, and per read that changed anything.
INSERT INTO dict_rate_limit_reconciliation_rows (
       participant, stream_id, sequence, polled_at, interval_seconds, staleness_seconds, duration_seconds,
       clock_skew_seconds, last_success_at, category_changed_at, traceparent, answered, observed_at, category,
       correlation_id, failure_code, failure_message, evaluated, complete, states_written, transitions,
       policies, policies_came, policies_gone, policies_refused, rule_failures, known_category, previous_category,
       stream_began_at, is_read)
SELECT participant, stream_id, sequence, polled_at, interval_seconds, staleness_seconds, duration_seconds,
       clock_skew_seconds, last_success_at, category_changed_at, traceparent, answered, observed_at, category,
       correlation_id, failure_code, failure_message, evaluated, complete, states_written, transitions,
       policies::text[], policies_came::text[], policies_gone::text[], policies_refused::text[], rule_failures,
       known_category, previous_category, stream_began_at, is_read
  FROM unnest(
       %(participant)s::text[], %(stream_id)s::text[], %(sequence)s::bigint[], %(polled_at)s::timestamptz[],
       %(interval_seconds)s::float8[], %(staleness_seconds)s::float8[], %(duration_seconds)s::float8[],
       %(clock_skew_seconds)s::float8[], %(last_success_at)s::timestamptz[], %(category_changed_at)s::timestamptz[],
       %(traceparent)s::text[], %(answered)s::boolean[], %(observed_at)s::timestamptz[], %(category)s::text[],
       %(correlation_id)s::text[], %(failure_code)s::text[], %(failure_message)s::text[], %(evaluated)s::boolean[],
       %(complete)s::boolean[], %(states_written)s::int[], %(transitions)s::int[], %(policies)s::text[],
       %(policies_came)s::text[], %(policies_gone)s::text[], %(policies_refused)s::text[], %(rule_failures)s::jsonb[],
       %(known_category)s::text[], %(previous_category)s::text[], %(stream_began_at)s::timestamptz[],
       %(is_read)s::boolean[])
       AS r (participant, stream_id, sequence, polled_at, interval_seconds, staleness_seconds, duration_seconds,
             clock_skew_seconds, last_success_at, category_changed_at, traceparent, answered, observed_at, category,
             correlation_id, failure_code, failure_message, evaluated, complete, states_written, transitions,
             policies, policies_came, policies_gone, policies_refused, rule_failures, known_category,
             previous_category, stream_began_at, is_read)
    ON CONFLICT DO NOTHING;

-- delete_ended_alerts --
-- Pending alerts whose condition ended before they fired.
DELETE FROM dict_rate_limit_alerts AS a
 USING unnest(%(fingerprint)s::text[], %(active_since)s::timestamptz[]) AS e (fingerprint, active_since)
 WHERE a.fingerprint = e.fingerprint AND a.active_since = e.active_since AND a.state = 'pending';

-- upsert_alerts --
-- Alert instances as the batch left them. One that resolved stays so.
INSERT INTO dict_rate_limit_alerts AS a (
       fingerprint, active_since, rule_group, alertname, severity, participant, policy, labels, annotations, value,
       state, firing_since, keep_firing_since, resolved_at, reason, closed_at)
SELECT fingerprint, active_since, rule_group, alertname, severity, participant, policy, labels, annotations, value,
       state, firing_since, keep_firing_since, resolved_at, reason,
       CASE state WHEN 'resolved' THEN clock_timestamp() END
  FROM unnest(
       %(fingerprint)s::text[], %(active_since)s::timestamptz[], %(rule_group)s::text[], %(alertname)s::text[],
       %(severity)s::text[], %(participant)s::text[], %(policy)s::text[], %(labels)s::jsonb[],
       %(annotations)s::jsonb[], %(value)s::float8[], %(state)s::text[], %(firing_since)s::timestamptz[],
       %(keep_firing_since)s::timestamptz[], %(resolved_at)s::timestamptz[], %(reason)s::text[])
       AS u (fingerprint, active_since, rule_group, alertname, severity, participant, policy, labels, annotations,
             value, state, firing_since, keep_firing_since, resolved_at, reason)
    ON CONFLICT (fingerprint, active_since) DO UPDATE
   SET rule_group = excluded.rule_group,
       severity = excluded.severity,
       labels = excluded.labels,
       annotations = excluded.annotations,
       value = excluded.value,
       state = excluded.state,
       firing_since = excluded.firing_since,
       keep_firing_since = excluded.keep_firing_since,
       resolved_at = excluded.resolved_at,
       reason = excluded.reason,
       closed_at = excluded.closed_at
 WHERE a.state <> 'resolved';

-- insert_alert_transitions --
-- The audit: alerts that entered a state.
INSERT INTO dict_rate_limit_alert_transitions (
       fingerprint, active_since, state, changed_at, reason, value, psp_category, observed_at, available_tokens,
       capacity)
SELECT *
  FROM unnest(
       %(fingerprint)s::text[], %(active_since)s::timestamptz[], %(state)s::text[], %(changed_at)s::timestamptz[],
       %(reason)s::text[], %(value)s::float8[], %(psp_category)s::text[], %(observed_at)s::timestamptz[],
       %(available_tokens)s::bigint[], %(capacity)s::bigint[])
    ON CONFLICT DO NOTHING;

-- insert_events --
-- Events for Pulsar, in the order of their transitions.
INSERT INTO dict_rate_limit_outbox (event_id, fingerprint, type, event_time, subject, traceparent, body)
SELECT event_id, fingerprint, type, event_time, subject, traceparent, body
  FROM unnest(
       %(event_id)s::uuid[], %(fingerprint)s::text[], %(type)s::text[], %(event_time)s::timestamptz[],
       %(subject)s::text[], %(traceparent)s::text[], %(body)s::jsonb[])
       WITH ORDINALITY AS e (event_id, fingerprint, type, event_time, subject, traceparent, body, place)
 ORDER BY place
    ON CONFLICT DO NOTHING;

-- open_alerts --
-- Every open alert, for a reconciler that begins.
SELECT fingerprint, rule_group, alertname, severity, participant, policy, labels, annotations, value, state,
       active_since, firing_since, keep_firing_since, resolved_at, reason
  FROM dict_rate_limit_alerts
 WHERE state IN ('pending', 'firing')
 ORDER BY active_since, fingerprint;

-- last_polls --
-- How far the reconciliation of each participant has come: its last poll, the last one that an exporter made, and the last
-- of the same stream whose answer was stale by then (0: not looked for beyond twice the staleness), and its category.
-- The last polls are never compacted.
WITH RECURSIVE participants (participant) AS (
       -- One index probe per participant: there may be millions of polls.
       SELECT min(participant) FROM dict_rate_limit_reconciliation_rows
        UNION ALL
       SELECT (SELECT min(r.participant) FROM dict_rate_limit_reconciliation_rows AS r WHERE r.participant > p.participant)
         FROM participants AS p
        WHERE p.participant IS NOT NULL)
SELECT p.participant, last.polled_at, coalesce(made.stream_id, '') AS stream_id, coalesce(made.sequence, 0) AS sequence,
       coalesce(stale.sequence, 0) AS stale_sequence, last.known_category, last.category_changed_at,
       last.previous_category
  FROM participants AS p
 CROSS JOIN LATERAL (
       SELECT r.polled_at, coalesce(r.known_category, r.category) AS known_category, r.category_changed_at,
              r.previous_category
         FROM dict_rate_limit_reconciliation_rows AS r
        WHERE r.participant = p.participant
        ORDER BY r.polled_at DESC
        LIMIT 1) AS last
  LEFT JOIN LATERAL (
       SELECT r.polled_at, r.stream_id, r.sequence, make_interval(secs => r.staleness_seconds) AS staleness
         FROM dict_rate_limit_reconciliation_rows AS r
        WHERE r.participant = p.participant AND r.sequence > 0
        ORDER BY r.polled_at DESC, r.stream_id DESC, r.sequence DESC
        LIMIT 1) AS made ON true
  LEFT JOIN LATERAL (
       SELECT r.sequence
         FROM dict_rate_limit_reconciliation_rows AS r
        WHERE r.participant = p.participant
          AND r.stream_id = made.stream_id
          AND r.sequence > 0
          AND r.polled_at <= made.polled_at - made.staleness
          AND r.polled_at > made.polled_at - 2 * made.staleness
        ORDER BY r.polled_at DESC
        LIMIT 1) AS stale ON true;

-- will_have_partitions --
-- Whether these times lie in the months that partitions are made for: from the one before to three ahead.
SELECT bool_and(t.at >= (this.month - interval '1 month') AT TIME ZONE 'UTC'
            AND t.at < (this.month + interval '4 months') AT TIME ZONE 'UTC')
  FROM unnest(%(times)s::timestamptz[]) AS t (at)
 CROSS JOIN (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') AS month) AS this;

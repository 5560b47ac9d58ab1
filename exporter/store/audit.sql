-- The audit, to be followed from its beginning.

-- links --
-- A page of transitions in the order in which they were recorded, each with what its alert says of it.
SELECT t.number, t.previous_hash, t.hash, t.fingerprint, t.active_since, t.state, t.changed_at, t.reason, t.value,
       t.psp_category, t.observed_at, t.available_tokens, t.capacity, a.alertname, a.labels, a.firing_since, a.resolved_at,
       a.reason
  FROM dict_rate_limit_alert_transitions AS t
  JOIN dict_rate_limit_alerts AS a USING (fingerprint, active_since)
 WHERE t.number > %(after)s::bigint
 ORDER BY t.number
 LIMIT %(limit)s::int;

-- head --
-- The last link that was recorded.
SELECT number, hash FROM dict_rate_limit_audit_head;

-- unrecorded --
-- Alerts that are in a state of which no transition tells.
SELECT a.alertname, a.participant, a.active_since, entered.state
  FROM dict_rate_limit_alerts AS a
 CROSS JOIN LATERAL unnest(CASE a.state WHEN 'resolved' THEN ARRAY['firing', 'resolved'] ELSE ARRAY[a.state] END)
       AS entered (state)
 WHERE entered.state <> 'pending'
   AND NOT EXISTS (
       SELECT FROM dict_rate_limit_alert_transitions AS t
        WHERE t.fingerprint = a.fingerprint AND t.active_since = a.active_since AND t.state = entered.state)
 ORDER BY a.active_since
 LIMIT 100;

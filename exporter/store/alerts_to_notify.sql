-- What notifications say: committed alerts, and the state of their buckets.

-- alerts --
-- The last instance of each alert that fires, or whose resolution was committed of late.
SELECT DISTINCT ON (fingerprint)
       fingerprint, rule_group, alertname, severity, participant, policy, labels, annotations, value, state,
       active_since, firing_since, keep_firing_since, resolved_at, reason
  FROM (SELECT *
          FROM dict_rate_limit_alerts
         WHERE state IN ('pending', 'firing')
        UNION ALL
        SELECT *
          FROM dict_rate_limit_alerts
         WHERE closed_at > now() - make_interval(secs => %(resolved_for_seconds)s::float8)
       ) AS a
 WHERE state <> 'pending'
 ORDER BY fingerprint, active_since DESC;

-- levels --
-- Of each bucket its last state, when a poll last confirmed it, and whether the participant's last poll was answered with
-- news, and told its figures. An answer that has been the same for the staleness is none. The last polls are never
-- compacted.
SELECT b.participant, b.policy, last.answered AND repeated.polled_at IS NULL,
       b.policy = ANY (coalesce(last.policies_refused, '{}')),
       s.available_tokens, s.capacity, s.utilization_percent, s.recovery_eta_seconds, s.exhaustion_projection_seconds,
       s.confirmed_at
  FROM unnest(%(participant)s::text[], %(policy)s::text[]) AS b (participant, policy)
 CROSS JOIN LATERAL (
       SELECT r.answered, r.policies_refused, r.polled_at, r.observed_at, r.staleness_seconds
         FROM dict_rate_limit_reconciliation_rows AS r
        WHERE r.participant = b.participant AND NOT r.is_read
        ORDER BY r.polled_at DESC
        LIMIT 1) AS last
  LEFT JOIN LATERAL (
       SELECT earlier.polled_at
         FROM (SELECT r.polled_at, r.observed_at
                 FROM dict_rate_limit_reconciliation_rows AS r
                WHERE r.participant = b.participant
                  AND r.answered
                  AND NOT r.is_read
                  AND r.polled_at <= last.polled_at - make_interval(secs => last.staleness_seconds)
                ORDER BY r.polled_at DESC
                LIMIT 1) AS earlier
        WHERE earlier.observed_at = last.observed_at) AS repeated ON true
  LEFT JOIN v_dict_rate_limit_latest_states AS s ON s.participant = b.participant AND s.policy = b.policy;

-- spans --
-- Of each span of polls of a bucket: the lowest level, from that of the state that it began with, the calls that were
-- refused with 429 by the Bridge's counts, and the poll of the last state. A state's lowest level is also of the minute
-- before it. Counts of two instances are not compared.
-- A state's two times are at most an hour apart (poll.max_clock_skew): named, so that it is a range of the primary key.
SELECT w.place, min(s.lowest), sum(s.refused)::bigint, max(s.polled_at)
  FROM unnest(
       %(participant)s::text[], %(policy)s::text[], %(since)s::timestamptz[], %(until)s::timestamptz[])
       WITH ORDINALITY AS w (participant, policy, since, until, place)
 CROSS JOIN LATERAL (
       SELECT states.lowest,
              states.polled_at,
              CASE WHEN states.responses_instance = lag(states.responses_instance) OVER by_time
                   THEN greatest(
                        states.responses_rate_limited - lag(states.responses_rate_limited) OVER by_time, 0)
               END AS refused
         FROM ((SELECT before.available_tokens AS lowest,
                       before.observed_at,
                       before.polled_at,
                       before.responses_rate_limited,
                       before.responses_instance
                  FROM (SELECT participant, policy, observed_at, polled_at, available_tokens, responses_rate_limited,
                               responses_instance
                          FROM dict_rate_limit_state_rows
                         UNION ALL
                        SELECT s.participant, s.policy, s.observed_at, s.polled_at, s.available_tokens,
                               s.responses_rate_limited, s.responses_instance
                          FROM dict_rate_limit_chunks AS c
                         CROSS JOIN LATERAL dict_rate_limit_states_of(c) AS s
                         WHERE c.hour > w.since - interval '25 hours' AND c.hour <= w.since) AS before
                 WHERE before.participant = w.participant
                   AND before.policy = w.policy
                   AND before.observed_at <= w.since + interval '1 hour'
                   AND before.polled_at <= w.since
                 ORDER BY before.observed_at DESC, before.polled_at DESC
                 LIMIT 1)
                UNION ALL
               SELECT least(during.available_tokens, during.lowest_available_tokens),
                      during.observed_at,
                      during.polled_at,
                      during.responses_rate_limited,
                      during.responses_instance
                 FROM dict_rate_limit_states_between(w.since - interval '1 hour', 'infinity') AS during
                WHERE during.participant = w.participant
                  AND during.policy = w.policy
                  AND during.polled_at > w.since
                  AND during.polled_at <= coalesce(w.until, 'infinity')) AS states
       WINDOW by_time AS (ORDER BY states.observed_at, states.polled_at)) AS s
 GROUP BY w.place;

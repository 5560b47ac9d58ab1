DROP VIEW public.v_dict_rate_limit_latest_states;

ALTER TABLE public.dict_rate_limit_states
    DROP COLUMN error_429_rate,
    DROP COLUMN lowest_available_tokens;

-- The buckets of every participant as last known. "confirmed_at" is the last poll whose answer held them, or the last read
-- of them that changed anything.
CREATE VIEW public.v_dict_rate_limit_latest_states AS
SELECT p.participant,
       p.policy,
       s.available_tokens,
       s.capacity,
       s.utilization_percent,
       s.refill_tokens,
       s.refill_period_seconds,
       s.consumption_rate_per_minute,
       s.recovery_eta_seconds,
       s.exhaustion_projection_seconds,
       s.error_404_rate,
       s.category AS psp_category,
       s.observed_at,
       greatest(s.polled_at, a.polled_at) AS confirmed_at,
       now() - greatest(s.polled_at, a.polled_at) AS age,
       s.responses_total,
       s.responses_not_found,
       s.responses_rate_limited,
       s.responses_instance
  FROM public.dict_rate_limit_policies AS p
 CROSS JOIN LATERAL (
       SELECT *
         FROM public.dict_rate_limit_states
        WHERE participant = p.participant AND policy = p.policy
        ORDER BY observed_at DESC, polled_at DESC
        LIMIT 1
       ) AS s
  LEFT JOIN LATERAL (
       SELECT r.polled_at
         FROM public.dict_rate_limit_reconciliations AS r
        WHERE r.participant = p.participant
          AND r.answered
          AND NOT r.is_read
          AND p.policy <> ALL (coalesce(r.policies_refused, '{}'))
        ORDER BY r.polled_at DESC
        LIMIT 1
       ) AS a ON true
 WHERE p.gone_at IS NULL;

COMMENT ON VIEW public.v_dict_rate_limit_latest_states IS 'Every bucket as last known';

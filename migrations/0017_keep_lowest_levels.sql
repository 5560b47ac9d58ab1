-- What came between two answers: the lowest level of late, and the share of 429s. Null in what was written before.
ALTER TABLE public.dict_rate_limit_states
    ADD COLUMN error_429_rate double precision,
    ADD COLUMN lowest_available_tokens bigint;

COMMENT ON COLUMN public.dict_rate_limit_states.error_429_rate IS 'Share of answers that were 429, 0 to 1; null: nothing counted';
COMMENT ON COLUMN public.dict_rate_limit_states.lowest_available_tokens IS 'The lowest level that an answer showed, or a 429 proved, within poll.lowest_window; null: of an exporter before that';

-- The buckets of every participant as last known. "confirmed_at" is the last poll whose answer held them, or the last read
-- of them that changed anything.
CREATE OR REPLACE VIEW public.v_dict_rate_limit_latest_states AS
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
       s.responses_instance,
       s.error_429_rate,
       s.lowest_available_tokens
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

-- Writes every row again: the columns are generated once more. The views go by them.
DROP VIEW public.v_dict_rate_limit_active_alerts;
DROP VIEW public.v_dict_rate_limit_latest_states;

ALTER TABLE public.dict_rate_limit_states
    ADD CONSTRAINT dict_rate_limit_states_check
        CHECK (available_tokens BETWEEN 0 AND capacity AND capacity >= 1) NOT VALID,
    DROP COLUMN utilization_percent,
    DROP COLUMN recovery_eta_seconds,
    ADD COLUMN utilization_percent double precision NOT NULL GENERATED ALWAYS AS
        (100.0::double precision * (capacity - available_tokens) / capacity) STORED,
    ADD COLUMN recovery_eta_seconds double precision NOT NULL GENERATED ALWAYS AS
        ((capacity - available_tokens)::double precision * refill_period_seconds / refill_tokens) STORED;

COMMENT ON COLUMN public.dict_rate_limit_states.available_tokens IS NULL;

-- What was in debt stays so: it is the past.
DO $$
BEGIN
    ALTER TABLE public.dict_rate_limit_states VALIDATE CONSTRAINT dict_rate_limit_states_check;
EXCEPTION WHEN check_violation THEN
    NULL;
END
$$;

-- The buckets of every participant as last known. "confirmed_at" is the last poll whose answer held them.
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
        WHERE r.participant = p.participant AND r.answered AND p.policy <> ALL (coalesce(r.policies_refused, '{}'))
        ORDER BY r.polled_at DESC
        LIMIT 1
       ) AS a ON true
 WHERE p.gone_at IS NULL;

COMMENT ON VIEW public.v_dict_rate_limit_latest_states IS 'Every bucket as last known';

-- Open alerts, the worst first, with their buckets.
CREATE VIEW public.v_dict_rate_limit_active_alerts AS
SELECT a.alertname,
       a.severity,
       a.state,
       a.participant,
       a.policy,
       a.value,
       a.active_since,
       a.firing_since,
       now() - coalesce(a.firing_since, a.active_since) AS age,
       a.keep_firing_since,
       a.annotations ->> 'summary' AS summary,
       a.annotations ->> 'description' AS description,
       a.annotations ->> 'runbook_url' AS runbook_url,
       s.available_tokens,
       s.capacity,
       s.utilization_percent,
       s.exhaustion_projection_seconds,
       s.recovery_eta_seconds,
       a.rule_group,
       a.fingerprint,
       a.labels,
       a.annotations
  FROM public.dict_rate_limit_alerts AS a
  LEFT JOIN LATERAL (
       SELECT *
         FROM public.dict_rate_limit_states
        WHERE participant = a.participant AND policy = a.policy
        ORDER BY observed_at DESC, polled_at DESC
        LIMIT 1
       ) AS s ON true
 WHERE a.state IN ('pending', 'firing')
 ORDER BY a.state,
          array_position(ARRAY['critical', 'warning', 'info'], a.severity),
          a.active_since;

COMMENT ON VIEW public.v_dict_rate_limit_active_alerts IS 'Open alerts, firing and critical ones first';

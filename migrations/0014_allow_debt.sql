-- A bucket may hold fewer tokens than none, and more than its capacity. Its utilization is 100 and 0 then, which the
-- writer says: a generated column could be changed only by writing every row again.
ALTER TABLE public.dict_rate_limit_states
    DROP CONSTRAINT dict_rate_limit_states_check,
    ALTER COLUMN utilization_percent DROP EXPRESSION,
    ALTER COLUMN recovery_eta_seconds DROP EXPRESSION;

COMMENT ON COLUMN public.dict_rate_limit_states.available_tokens IS 'As DICT answered; below 0: in debt';
COMMENT ON COLUMN public.dict_rate_limit_states.utilization_percent IS '100 x (1 - available / capacity), 0 to 100';
COMMENT ON COLUMN public.dict_rate_limit_states.recovery_eta_seconds IS 'Seconds to full if nothing is consumed; 0 when full';

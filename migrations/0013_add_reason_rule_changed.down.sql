ALTER TABLE public.dict_rate_limit_alerts
    DROP CONSTRAINT dict_rate_limit_alerts_reason_check,
    ADD CONSTRAINT dict_rate_limit_alerts_reason_check
        CHECK (reason IN ('recovered', 'policy_gone', 'no_data', 'rule_removed', 'participant_removed')) NOT VALID;

-- What has ended as rule_changed stays so: it is the past.
DO $$
BEGIN
    ALTER TABLE public.dict_rate_limit_alerts VALIDATE CONSTRAINT dict_rate_limit_alerts_reason_check;
EXCEPTION WHEN check_violation THEN
    NULL;
END
$$;

-- An alert whose rule was given other labels ends as that, and not as recovered.
ALTER TABLE public.dict_rate_limit_alerts
    DROP CONSTRAINT dict_rate_limit_alerts_reason_check,
    ADD CONSTRAINT dict_rate_limit_alerts_reason_check
        CHECK (reason IN ('recovered', 'policy_gone', 'no_data', 'rule_removed', 'rule_changed', 'participant_removed'));

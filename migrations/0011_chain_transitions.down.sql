DROP FUNCTION public.dict_rate_limit_prune_outbox(double precision, integer);
DROP TRIGGER dict_rate_limit_events_are_not_truncated ON public.dict_rate_limit_outbox;
DROP TRIGGER dict_rate_limit_events_are_kept ON public.dict_rate_limit_outbox;
DROP TABLE public.dict_rate_limit_audit_head;
DROP TRIGGER dict_rate_limit_alerts_are_not_changed ON public.dict_rate_limit_alerts;
DROP TRIGGER dict_rate_limit_alerts_are_not_truncated ON public.dict_rate_limit_alerts;
DROP TRIGGER dict_rate_limit_transitions_are_not_truncated ON public.dict_rate_limit_alert_transitions;
DROP TRIGGER dict_rate_limit_transitions_are_kept ON public.dict_rate_limit_alert_transitions;
DROP TRIGGER dict_rate_limit_transitions_are_not_changed ON public.dict_rate_limit_alert_transitions;
DROP TRIGGER dict_rate_limit_transitions_are_chained ON public.dict_rate_limit_alert_transitions;
DROP FUNCTION public.dict_rate_limit_refuse();
DROP FUNCTION public.dict_rate_limit_chain_transition();
DROP FUNCTION public.dict_rate_limit_transition_hash(public.dict_rate_limit_alert_transitions);
ALTER TABLE public.dict_rate_limit_alert_transitions
    DROP COLUMN number,
    DROP COLUMN previous_hash,
    DROP COLUMN hash;

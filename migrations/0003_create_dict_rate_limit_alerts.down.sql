DROP TABLE public.dict_rate_limit_alert_transitions;
DROP TABLE public.dict_rate_limit_alerts;
DROP FUNCTION public.dict_rate_limit_refuse_alert_deletion();

DROP INDEX public.dict_rate_limit_alerts_closed;
ALTER TABLE public.dict_rate_limit_alerts DROP COLUMN closed_at;

DROP FUNCTION public.dict_rate_limit_maintain_partitions(integer, timestamptz);
DROP VIEW public.v_dict_rate_limit_partitions;
DROP INDEX public.dict_rate_limit_alerts_by_time;
DROP INDEX public.dict_rate_limit_alerts_by_participant;
DROP INDEX public.dict_rate_limit_alerts_open;

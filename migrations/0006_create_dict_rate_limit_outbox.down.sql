DROP TABLE public.dict_rate_limit_outbox;

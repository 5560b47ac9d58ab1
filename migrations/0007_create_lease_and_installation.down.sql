DROP TABLE public.dict_rate_limit_installation;
DROP TABLE public.dict_rate_limit_lease;

DROP TABLE public.dict_rate_limit_commits;
ALTER TABLE public.dict_rate_limit_lease DROP COLUMN renewals;

ALTER TABLE public.dict_rate_limit_reconciliations
    DROP COLUMN known_category,
    DROP COLUMN previous_category,
    DROP COLUMN stream_began_at;

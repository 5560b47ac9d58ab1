-- What a poll knew of its participant's category, so that a process that starts knows it too; and since when its exporter
-- remembered anything.
ALTER TABLE public.dict_rate_limit_reconciliations
    ADD COLUMN known_category    text,
    ADD COLUMN previous_category text,
    ADD COLUMN stream_began_at   timestamptz;

COMMENT ON COLUMN public.dict_rate_limit_reconciliations.known_category IS 'The last category that was answered, at this poll or before';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.previous_category IS 'The one before it; null: not known';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.stream_began_at IS 'When the exporter of this stream started';

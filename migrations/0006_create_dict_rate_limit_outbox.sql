-- Events on their way to Pulsar, committed with the transitions they tell of.
CREATE TABLE public.dict_rate_limit_outbox (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id     uuid        NOT NULL UNIQUE,
    fingerprint  text        NOT NULL,
    type         text        NOT NULL,
    event_time   timestamptz NOT NULL,
    subject      text        NOT NULL,
    traceparent  text,
    body         jsonb       NOT NULL,
    state        text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'published', 'dead')),
    sequence_id  bigint      UNIQUE CHECK (sequence_id >= 1),
    producer     text,
    attempts     integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    last_error   text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz,
    CHECK ((state = 'published') = (published_at IS NOT NULL))
) WITH (fillfactor = 80);

COMMENT ON TABLE public.dict_rate_limit_outbox IS 'Transactional outbox: one row per event, in order per fingerprint';
COMMENT ON COLUMN public.dict_rate_limit_outbox.sequence_id IS 'The producer''s sequence id, committed before the first send';
COMMENT ON COLUMN public.dict_rate_limit_outbox.producer IS 'Name of the producer that sequence_id belongs to; null: none any more, the row gets another id';

-- Serves the relay's next rows, and their number and age.
CREATE INDEX dict_rate_limit_outbox_pending ON public.dict_rate_limit_outbox (id) WHERE state = 'pending';
-- Serves the rows that were sent, perhaps, and not marked.
CREATE INDEX dict_rate_limit_outbox_taken
    ON public.dict_rate_limit_outbox (sequence_id)
    WHERE state = 'pending' AND sequence_id IS NOT NULL;
-- Serves pruning.
CREATE INDEX dict_rate_limit_outbox_published ON public.dict_rate_limit_outbox (published_at) WHERE state = 'published';
-- Serves the count of what could not be sent.
CREATE INDEX dict_rate_limit_outbox_dead ON public.dict_rate_limit_outbox (id) WHERE state = 'dead';

-- Who reconciles. One row; epoch grows with each change of holder, and fences the one before.
CREATE TABLE public.dict_rate_limit_lease (
    only_row   boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    holder     text,
    epoch      bigint      NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    expires_at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10);

COMMENT ON TABLE public.dict_rate_limit_lease IS 'The reconciler that works; others wait';
COMMENT ON COLUMN public.dict_rate_limit_lease.expires_at IS 'By the database''s clock';

INSERT INTO public.dict_rate_limit_lease DEFAULT VALUES;

-- What this database is called by those outside, as in the name of the Pulsar producer.
CREATE TABLE public.dict_rate_limit_installation (
    only_row   boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    id         uuid        NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE public.dict_rate_limit_installation IS 'The identity of this database';

INSERT INTO public.dict_rate_limit_installation DEFAULT VALUES;

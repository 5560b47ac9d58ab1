-- What is counted here with each commit and each renewal of the lease never comes back: whoever sees a number that is not
-- above the last knows that the database has become an older copy of itself.
ALTER TABLE public.dict_rate_limit_lease ADD COLUMN renewals bigint NOT NULL DEFAULT 0 CHECK (renewals >= 0);

COMMENT ON COLUMN public.dict_rate_limit_lease.renewals IS 'How often the lease was taken or renewed';

-- A row for each part of the program that commits, so that none waits for another.
CREATE TABLE public.dict_rate_limit_commits (
    part    text   PRIMARY KEY CHECK (part IN ('reconciler', 'relay')),
    commits bigint NOT NULL DEFAULT 0 CHECK (commits >= 0)
) WITH (fillfactor = 10);

COMMENT ON TABLE public.dict_rate_limit_commits IS 'How often the holders of the lease have committed';

INSERT INTO public.dict_rate_limit_commits (part) VALUES ('reconciler'), ('relay');

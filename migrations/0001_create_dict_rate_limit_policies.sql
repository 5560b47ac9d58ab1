-- Every policy that a participant's answers have held, and how its bucket was last known to be.
CREATE TABLE public.dict_rate_limit_policies (
    participant           text        NOT NULL CHECK (participant ~ '^[0-9]{8}$'),
    policy                text        NOT NULL CHECK (policy <> ''),
    capacity              bigint      NOT NULL CHECK (capacity >= 1),
    refill_tokens         bigint      NOT NULL CHECK (refill_tokens >= 1),
    refill_period_seconds bigint      NOT NULL CHECK (refill_period_seconds >= 1),
    first_seen_at         timestamptz NOT NULL,
    changed_at            timestamptz NOT NULL,
    gone_at               timestamptz,
    PRIMARY KEY (participant, policy)
);

COMMENT ON TABLE public.dict_rate_limit_policies IS 'Policies by participant, with capacity and refill as last known';
COMMENT ON COLUMN public.dict_rate_limit_policies.first_seen_at IS 'First poll (UTC) whose answer held the policy';
COMMENT ON COLUMN public.dict_rate_limit_policies.changed_at IS 'Last poll (UTC) at which it came, or its capacity or refill changed';
COMMENT ON COLUMN public.dict_rate_limit_policies.gone_at IS 'First poll (UTC) whose answer no longer held it; null while it is there';

-- Bucket states: a row when anything in a bucket's state changed, and at least every database.heartbeat.
-- Partitioned by month (UTC) of DICT's response time. There is no default partition: it would hide a fault.
CREATE TABLE public.dict_rate_limit_states (
    observed_at                   timestamptz      NOT NULL,
    polled_at                     timestamptz      NOT NULL,
    available_tokens              bigint           NOT NULL,
    capacity                      bigint           NOT NULL,
    refill_tokens                 bigint           NOT NULL,
    refill_period_seconds         bigint           NOT NULL,
    utilization_percent           double precision NOT NULL GENERATED ALWAYS AS
        (100.0::double precision * (capacity - available_tokens) / capacity) STORED,
    recovery_eta_seconds          double precision NOT NULL GENERATED ALWAYS AS
        ((capacity - available_tokens)::double precision * refill_period_seconds / refill_tokens) STORED,
    consumption_rate_per_minute   double precision,
    exhaustion_projection_seconds double precision,
    error_404_rate                double precision,
    responses_total               bigint,
    responses_not_found           bigint,
    responses_rate_limited        bigint,
    participant                   text             NOT NULL,
    policy                        text             NOT NULL,
    category                      text,
    responses_instance            text,
    -- Serves the last state of a bucket, and a bucket's states over a span of time.
    PRIMARY KEY (participant, policy, observed_at, polled_at),
    CHECK (available_tokens BETWEEN 0 AND capacity AND capacity >= 1),
    CHECK (refill_tokens >= 1 AND refill_period_seconds >= 1),
    CHECK (num_nulls(responses_total, responses_not_found, responses_rate_limited, responses_instance) IN (0, 4))
) PARTITION BY RANGE (observed_at);

COMMENT ON TABLE public.dict_rate_limit_states IS 'Bucket states; a bucket keeps its state until its next row';
COMMENT ON COLUMN public.dict_rate_limit_states.observed_at IS 'DICT''s response time (UTC)';
COMMENT ON COLUMN public.dict_rate_limit_states.polled_at IS 'The poll''s own time (UTC)';
COMMENT ON COLUMN public.dict_rate_limit_states.consumption_rate_per_minute IS 'Tokens per minute, refill added back; null: not known yet';
COMMENT ON COLUMN public.dict_rate_limit_states.exhaustion_projection_seconds IS 'Seconds to empty; Infinity when not draining; null: not known yet';
COMMENT ON COLUMN public.dict_rate_limit_states.error_404_rate IS 'Share of answers that were 404, 0 to 1; null: nothing counted';
COMMENT ON COLUMN public.dict_rate_limit_states.responses_total IS 'Answers counted by one Bridge instance since it started, 404s and 429s included';

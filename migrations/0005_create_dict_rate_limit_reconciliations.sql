-- One row per reconciled poll, answered or not. With dict_rate_limit_states it gives back every poll exactly:
-- within a stream, an answered poll's buckets are those of "policies" (null: as in the stream's answered poll
-- before), each in its last state; a "complete" poll has written them all.
CREATE TABLE public.dict_rate_limit_reconciliations (
    polled_at           timestamptz      NOT NULL,
    sequence            bigint           NOT NULL CHECK (sequence >= 0),
    observed_at         timestamptz,
    last_success_at     timestamptz,
    category_changed_at timestamptz,
    recorded_at         timestamptz      NOT NULL DEFAULT now(),
    interval_seconds    double precision NOT NULL,
    staleness_seconds   double precision NOT NULL,
    duration_seconds    double precision NOT NULL,
    clock_skew_seconds  double precision,
    states_written      integer          NOT NULL CHECK (states_written >= 0),
    transitions         integer          NOT NULL CHECK (transitions >= 0),
    answered            boolean          NOT NULL,
    complete            boolean          NOT NULL,
    evaluated           boolean          NOT NULL,
    participant         text             NOT NULL CHECK (participant ~ '^[0-9]{8}$'),
    stream_id           text             NOT NULL,
    category            text,
    correlation_id      text,
    traceparent         text,
    failure_code        text,
    failure_message     text,
    policies            text[],
    policies_came       text[],
    policies_gone       text[],
    policies_refused    text[],
    rule_failures       jsonb,
    PRIMARY KEY (participant, polled_at, stream_id, sequence),
    CONSTRAINT answered_or_failed CHECK (CASE WHEN answered
        THEN num_nulls(observed_at, correlation_id) = 0 AND num_nonnulls(failure_code, failure_message) = 0
        ELSE num_nonnulls(observed_at, correlation_id, category, policies, policies_refused) = 0
             AND num_nulls(failure_code, failure_message) = 0 AND NOT complete
    END)
) PARTITION BY RANGE (polled_at);

COMMENT ON TABLE public.dict_rate_limit_reconciliations IS 'Polls taken through the rules and into the database';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.sequence IS 'The stream''s polls from 1; 0: a poll that no exporter made (FEED_LOST)';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.complete IS 'Whether every bucket of the answer was written at this poll';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.evaluated IS 'False: the poll came late; its states are kept, rules were not evaluated';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.policies IS 'Policies in the answer; null: as in the stream''s answered poll before';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.rule_failures IS 'Rules that could not be evaluated: [{group, name, message}]';

-- A fresh database can be written to at once.
SELECT public.dict_rate_limit_maintain_partitions(retention_months => 120);

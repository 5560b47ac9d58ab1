-- Keeps the data of dict_rate_limit_chunks: it is written as rows again, which takes its time, and twenty times the space.
INSERT INTO public.dict_rate_limit_state_rows (
       observed_at, polled_at, available_tokens, capacity, refill_tokens, refill_period_seconds, utilization_percent,
       recovery_eta_seconds, consumption_rate_per_minute, exhaustion_projection_seconds, error_404_rate,
       responses_total, responses_not_found, responses_rate_limited, participant, policy, category, responses_instance,
       error_429_rate, lowest_available_tokens)
SELECT s.* FROM public.dict_rate_limit_chunks AS c CROSS JOIN LATERAL public.dict_rate_limit_states_of(c) AS s;
INSERT INTO public.dict_rate_limit_reconciliation_rows (
       polled_at, sequence, observed_at, last_success_at, category_changed_at, recorded_at, interval_seconds,
       staleness_seconds, duration_seconds, clock_skew_seconds, states_written, transitions, answered, complete,
       evaluated, participant, stream_id, category, correlation_id, traceparent, failure_code, failure_message,
       policies, policies_came, policies_gone, policies_refused, rule_failures, known_category, previous_category,
       stream_began_at, is_read)
SELECT r.* FROM public.dict_rate_limit_chunks AS c CROSS JOIN LATERAL public.dict_rate_limit_polls_of(c) AS r;

DELETE FROM public.dict_rate_limit_commits WHERE part = 'compaction';
ALTER TABLE public.dict_rate_limit_commits
    DROP CONSTRAINT dict_rate_limit_commits_part_check,
    ADD CONSTRAINT dict_rate_limit_commits_part_check CHECK (part IN ('reconciler', 'relay'));

DROP FUNCTION public.dict_rate_limit_compact(text, timestamptz);
DROP FUNCTION public.dict_rate_limit_states_between(timestamptz, timestamptz);
DROP FUNCTION public.dict_rate_limit_reconciliations_between(timestamptz, timestamptz);
DROP VIEW public.dict_rate_limit_states;
DROP VIEW public.dict_rate_limit_reconciliations;
DROP FUNCTION public.dict_rate_limit_insert_state();
DROP FUNCTION public.dict_rate_limit_insert_reconciliation();
DROP FUNCTION public.dict_rate_limit_states_of(public.dict_rate_limit_chunks);
DROP FUNCTION public.dict_rate_limit_polls_of(public.dict_rate_limit_chunks);
DROP FUNCTION public.dict_rate_limit_poll_times_of(public.dict_rate_limit_chunks);
DROP TABLE public.dict_rate_limit_chunks;
DROP FUNCTION public.dict_rate_limit_share_windows(
    double precision[], double precision[], integer[], bigint[], bigint[], bigint[]);
DROP FUNCTION public.dict_rate_limit_rate_windows(double precision[], integer[], bigint[]);
DROP FUNCTION public.dict_rate_limit_microseconds(interval);
DROP FUNCTION public.dict_rate_limit_unless_null(anyarray);
DROP FUNCTION public.dict_rate_limit_highs(bigint[]);
DROP FUNCTION public.dict_rate_limit_lows(bigint[]);
DROP FUNCTION public.dict_rate_limit_high(bigint);
DROP FUNCTION public.dict_rate_limit_low(bigint);

ALTER TABLE public.dict_rate_limit_state_rows RENAME TO dict_rate_limit_states;
ALTER TABLE public.dict_rate_limit_reconciliation_rows RENAME TO dict_rate_limit_reconciliations;

DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
                   AND relname ~ '^dict_rate_limit_(state|reconciliation)_rows_\d{4}_\d{2}$'
    LOOP
        EXECUTE format('ALTER TABLE public.%I RENAME TO %I', name, regexp_replace(name, '_rows_(\d{4}_\d{2})$', 's_\1'));
    END LOOP;
END
$$;

COMMENT ON TABLE public.dict_rate_limit_states IS 'Bucket states; a bucket keeps its state until its next row';
COMMENT ON TABLE public.dict_rate_limit_reconciliations IS 'Polls taken through the rules and into the database';

CREATE OR REPLACE FUNCTION public.dict_rate_limit_maintain_partitions(
    retention_months integer,
    at timestamptz DEFAULT now()
) RETURNS TABLE (partition text, action text)
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET lock_timeout = '1s'
    SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD'
    SET IntervalStyle = postgres
    SET array_nulls = on
    SET bytea_output = hex
    SET extra_float_digits = 1
    SET transform_null_equals = off
AS $$
DECLARE
    parent text;
    held   text;
    month  timestamptz;
    oldest timestamptz;
BEGIN
    IF retention_months < 1 THEN
        RAISE EXCEPTION 'retention_months is %; it must be at least 1', retention_months
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('dict_rate_limit_maintain_partitions'));

    FOR parent IN
        SELECT relname
          FROM pg_class
         WHERE relkind = 'p' AND relnamespace = 'public'::regnamespace AND relname LIKE 'dict\_rate\_limit\_%'
         ORDER BY relname
    LOOP
        FOR month IN
            SELECT generate_series(
                date_trunc('month', at) - interval '1 month',
                date_trunc('month', at) + interval '3 months',
                interval '1 month'
            )
        LOOP
            partition := format('%s_%s', parent, to_char(month, 'YYYY_MM'));
            CONTINUE WHEN to_regclass(format('public.%I', partition)) IS NOT NULL;
            BEGIN
                -- Made as a table and attached: the parent stays readable and writable throughout.
                EXECUTE format(
                    'CREATE TABLE public.%I (LIKE public.%I INCLUDING ALL EXCLUDING INDEXES)', partition, parent
                );
                EXECUTE format(
                    'ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
                    parent, partition, month, month + interval '1 month'
                );
                action := 'created';
            EXCEPTION WHEN lock_not_available THEN
                action := 'postponed';
            END;
            RETURN NEXT;
        END LOOP;
    END LOOP;

    oldest := date_trunc('month', least(at, now())) - make_interval(months => retention_months);
    FOR parent, partition IN
        SELECT p.parent, p.partition
          FROM public.v_dict_rate_limit_partitions AS p
         WHERE p.month < oldest
         ORDER BY p.partition
    LOOP
        action := 'postponed';
        -- What holds the table itself (a dump, a long query) is waited for once, and not for each partition again.
        IF parent IS DISTINCT FROM held THEN
            BEGIN
                held := parent;
                EXECUTE format('LOCK TABLE ONLY public.%I IN ACCESS EXCLUSIVE MODE', parent);
                held := NULL;
                EXECUTE format('DROP TABLE public.%I', partition);
                action := 'dropped';
            EXCEPTION WHEN lock_not_available THEN
                NULL;
            END;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

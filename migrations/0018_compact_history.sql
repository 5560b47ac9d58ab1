-- History is kept in two forms: rows, and what is older than database.compact_after in chunks, one for each participant
-- and hour. The views dict_rate_limit_states and dict_rate_limit_reconciliations give the same rows over both.
ALTER TABLE public.dict_rate_limit_states RENAME TO dict_rate_limit_state_rows;
ALTER TABLE public.dict_rate_limit_reconciliations RENAME TO dict_rate_limit_reconciliation_rows;

DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
                   AND relname ~ '^dict_rate_limit_(states|reconciliations)_\d{4}_\d{2}$'
    LOOP
        EXECUTE format('ALTER TABLE public.%I RENAME TO %I', name, regexp_replace(name, 's_(\d{4}_\d{2})$', '_rows_\1'));
    END LOOP;
END
$$;

-- Polls are in order of time; states are in order of their policy and then of time. Each number is kept as its 16 lower
-- bits and, where any of its column needs more, as the rest: arrays of what hardly changes compress to next to nothing.
CREATE TABLE public.dict_rate_limit_chunks (
    hour                timestamptz NOT NULL CHECK (extract(minute FROM hour AT TIME ZONE 'UTC') = 0),
    compacted_at        timestamptz NOT NULL DEFAULT now(),
    polls               integer     NOT NULL,
    states              integer     NOT NULL,
    participant         text        NOT NULL,
    -- Of each poll: microseconds since the one before, or since the hour began; sequence, less that of the one before.
    polled_low          smallint[]  NOT NULL,
    polled_high         integer[],
    sequence_low        smallint[]  NOT NULL,
    sequence_high       integer[],
    -- Microseconds since polled_at (of recorded_at: less "recorded_after"), and of durations. Null: not answered, or see
    -- "durations".
    observed_low        smallint[]  NOT NULL,
    observed_high       integer[],
    recorded_after      bigint      NOT NULL,
    recorded_low        smallint[]  NOT NULL,
    recorded_high       integer[],
    duration_low        smallint[]  NOT NULL,
    duration_high       integer[],
    durations           double precision[],
    -- The clock's skew in microseconds, less observed_at since polled_at. Null: not known, or see "skews".
    skew_low            smallint[]  NOT NULL,
    skew_high           integer[],
    skews               double precision[],
    -- How many polls ago the last success was; null: see "successes", microseconds before polled_at.
    success_low         smallint[]  NOT NULL,
    successes           bigint[],
    written_low         smallint[]  NOT NULL,
    written_high        integer[],
    kind                smallint[]  NOT NULL,
    kinds               jsonb       NOT NULL,
    list                smallint[]  NOT NULL,
    lists               jsonb       NOT NULL,
    correlation_uuids   uuid[],
    correlation_ids     text[],
    traceparents        text[],
    -- Where each policy's states end.
    policies            text[]      NOT NULL,
    ends                integer[]   NOT NULL,
    -- Of each state, less that of the policy's one before: its poll, tokens and counts.
    poll_low            smallint[]  NOT NULL,
    poll_high           integer[],
    available_low       smallint[]  NOT NULL,
    available_high      integer[],
    total_low           smallint[]  NOT NULL,
    total_high          integer[],
    not_found_low       smallint[]  NOT NULL,
    not_found_high      integer[],
    rate_limited_low    smallint[]  NOT NULL,
    rate_limited_high   integer[],
    -- Tokens that the lowest level lies below "available".
    lowest_low          smallint[]  NOT NULL,
    lowest_high         integer[],
    layout              smallint[]  NOT NULL,
    layouts             jsonb       NOT NULL,
    -- Tokens consumed since how many polls ago: a rate is computed from these. Polls before the hour: microseconds before
    -- it, the last first. Null: not known, or see "rates".
    consumed_low        smallint[]  NOT NULL,
    consumed_high       integer[],
    window_low          smallint[]  NOT NULL,
    earlier             bigint[],
    rates               double precision[],
    exhaustions         double precision[],
    -- The shares are of what was counted since how many states ago. Null: see "shares_404" and "shares_429".
    share_low           smallint[]  NOT NULL,
    shares_404          double precision[],
    shares_429          double precision[],
    PRIMARY KEY (participant, hour)
) PARTITION BY RANGE (hour);

COMMENT ON TABLE public.dict_rate_limit_state_rows IS 'Bucket states that are not compacted yet';
COMMENT ON TABLE public.dict_rate_limit_reconciliation_rows IS 'Reconciled polls that are not compacted yet';
COMMENT ON TABLE public.dict_rate_limit_chunks IS 'Compacted history, by participant and hour of polled_at (UTC)';

CREATE FUNCTION public.dict_rate_limit_low(number bigint) RETURNS smallint LANGUAGE sql IMMUTABLE AS
$$SELECT (((number + 32768) & 65535) - 32768)::smallint$$;

CREATE FUNCTION public.dict_rate_limit_high(number bigint) RETURNS integer LANGUAGE sql IMMUTABLE AS
$$SELECT ((number + 32768) >> 16)::integer$$;

CREATE FUNCTION public.dict_rate_limit_lows(numbers bigint[]) RETURNS smallint[] LANGUAGE sql IMMUTABLE AS
$$SELECT coalesce(array_agg(public.dict_rate_limit_low(n) ORDER BY place), '{}') FROM unnest(numbers) WITH ORDINALITY AS u (n, place)$$;

-- Null where the lower bits say all.
CREATE FUNCTION public.dict_rate_limit_highs(numbers bigint[]) RETURNS integer[] LANGUAGE sql IMMUTABLE AS
$$SELECT CASE WHEN bool_or(public.dict_rate_limit_high(n) <> 0) THEN array_agg(public.dict_rate_limit_high(n) ORDER BY place) END
    FROM unnest(numbers) WITH ORDINALITY AS u (n, place)$$;

-- Null where all elements are.
CREATE FUNCTION public.dict_rate_limit_unless_null(elements anyarray) RETURNS anyarray LANGUAGE sql IMMUTABLE AS
$$SELECT CASE WHEN EXISTS (SELECT FROM unnest(elements) AS e WHERE e IS NOT NULL) THEN elements END$$;

CREATE FUNCTION public.dict_rate_limit_microseconds(span interval) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$SELECT (extract(epoch FROM span) * 1000000)::bigint$$;

-- Which poll each rate's window began at, and what was consumed since: the first that give the rate again to the bit.
-- "observed" are the times of all polls in microseconds, "at" is the place in it of each rate's poll.
CREATE FUNCTION public.dict_rate_limit_rate_windows(
    rates double precision[], at integer[], observed bigint[], OUT begins integer[], OUT consumed bigint[]
) LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    reach  integer;
    misses integer := 0;
    likely integer := 1;
    start  integer;
    span   double precision;
    taken  double precision;
    found  integer;
    rate   double precision;
    here   integer := 0;
    probe  integer;
BEGIN
    begins := '{}';
    consumed := '{}';
    FOR i IN 1 .. coalesce(array_length(rates, 1), 0) LOOP
        rate := rates[i];
        -- Another policy begins.
        misses := CASE WHEN at[i] <= here THEN 0 ELSE misses END;
        here := at[i];
        found := NULL;
        -- Others would go beyond what can be computed with.
        IF rate = 0 AND here > 1 AND observed[here] > observed[here - 1] THEN
            found := here - 1;
            taken := 0;
        ELSIF rate BETWEEN 1e-9 AND 1e12 THEN
            -- A window slides: from where the last one began on, and then backwards. Rates of releases before cannot be
            -- found: they are not looked for as far.
            start := CASE WHEN misses <= 8 AND here - likely BETWEEN 1 AND 700 THEN likely ELSE here END;
            reach := CASE WHEN misses <= 8 THEN 700 ELSE 16 END;
            FOR step IN 0 .. here - start + reach LOOP
                probe := CASE WHEN start + step < here THEN start + step ELSE start + (here - start - 1) - step END;
                EXIT WHEN probe < 1;
                span := observed[here] - observed[probe];
                taken := round(rate / 60 * (span / 1e6));
                IF span > 0 AND taken / (span / 1e6) * 60 = rate THEN
                    found := probe;
                    likely := probe;
                    misses := 0;
                    EXIT;
                END IF;
            END LOOP;
            misses := misses + (found IS NULL)::integer;
        END IF;
        begins := begins || found;
        consumed := consumed || CASE WHEN found IS NOT NULL THEN taken::bigint END;
    END LOOP;
END
$$;

-- How many states ago each pair of shares began to be counted: 0 where nothing was; null: it cannot be told. "firsts" are
-- the places of the first state of each one's policy.
CREATE FUNCTION public.dict_rate_limit_share_windows(
    shares_404 double precision[], shares_429 double precision[],
    firsts integer[], totals bigint[], not_found bigint[], rate_limited bigint[]
) RETURNS smallint[] LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    windows smallint[] := '{}';
    likely  integer := 1;
    found   integer;
    answers double precision;
    probe   integer;
BEGIN
    FOR i IN 1 .. coalesce(array_length(totals, 1), 0) LOOP
        found := NULL;
        IF shares_404[i] IS NULL OR shares_429[i] IS NULL THEN
            found := CASE WHEN shares_404[i] IS NULL AND shares_429[i] IS NULL THEN 0 END;
        ELSE
            likely := greatest(likely, firsts[i]);
            -- What is 0 since the state before is so since any; a window slides.
            probe := CASE WHEN shares_404[i] = 0 AND shares_429[i] = 0 THEN greatest(likely, i - 1) ELSE likely END;
            WHILE probe < i LOOP
                answers := totals[i] - totals[probe];
                IF answers > 0
                    AND (not_found[i] - not_found[probe]) / answers = shares_404[i]
                    AND (rate_limited[i] - rate_limited[probe]) / answers = shares_429[i]
                THEN
                    found := i - probe;
                    likely := CASE WHEN found > 1 THEN probe ELSE likely END;
                    EXIT;
                END IF;
                probe := probe + 1;
            END LOOP;
        END IF;
        windows := windows || found::smallint;
    END LOOP;
    RETURN windows;
END
$$;

-- When the polls of a chunk were made, in order, and of which kind each is.
CREATE FUNCTION public.dict_rate_limit_poll_times_of(c public.dict_rate_limit_chunks)
RETURNS TABLE (polled_at timestamptz, kind smallint) LANGUAGE sql STABLE AS $$
    SELECT c.hour + (sum(u.low) OVER polls + 65536 * sum(coalesce(u.high, 0)) OVER polls) * interval '1 microsecond', u.kind
      FROM unnest(c.polled_low, c.polled_high, c.kind) WITH ORDINALITY AS u (low, high, kind, place)
    WINDOW polls AS (ORDER BY u.place ROWS UNBOUNDED PRECEDING)
$$;

-- The polls of a chunk, as rows.
CREATE FUNCTION public.dict_rate_limit_polls_of(c public.dict_rate_limit_chunks)
RETURNS TABLE (
    polled_at timestamptz, sequence bigint, observed_at timestamptz, last_success_at timestamptz,
    category_changed_at timestamptz, recorded_at timestamptz, interval_seconds double precision,
    staleness_seconds double precision, duration_seconds double precision, clock_skew_seconds double precision,
    states_written integer, transitions integer, answered boolean, complete boolean, evaluated boolean,
    participant text, stream_id text, category text, correlation_id text, traceparent text, failure_code text,
    failure_message text, policies text[], policies_came text[], policies_gone text[], policies_refused text[],
    rule_failures jsonb, known_category text, previous_category text, stream_began_at timestamptz, is_read boolean
) LANGUAGE sql STABLE AS $$
    SELECT q.polled_at, q.sequence,
           q.polled_at + q.observed * interval '1 microsecond',
           CASE WHEN q.success IS NULL
                THEN q.polled_at - q.success_before * interval '1 microsecond'
                ELSE lag(q.polled_at, q.success) OVER polls
            END,
           k.category_changed_at,
           q.polled_at + (c.recorded_after + q.recorded) * interval '1 microsecond',
           k.interval_seconds, k.staleness_seconds,
           coalesce(q.duration_exactly, q.duration / 1e6::float8),
           coalesce(q.skew_exactly, (q.skew + lag(coalesce(q.observed, 0), coalesce(q.success, 0)) OVER polls) / 1e6::float8),
           q.written, k.transitions, k.answered, k.complete, k.evaluated, c.participant, k.stream_id, k.category,
           coalesce(q.correlation_id, replace(q.correlation_uuid::text, '-', '')), q.traceparent, k.failure_code,
           k.failure_message, l.policies, k.policies_came, k.policies_gone, k.policies_refused, k.rule_failures,
           k.known_category, k.previous_category, k.stream_began_at, k.is_read
      FROM (SELECT u.place, u.kind, u.list, u.success, u.success_before, u.duration_exactly, u.skew_exactly,
                   u.correlation_uuid, u.correlation_id, u.traceparent,
                   c.hour + (sum(u.polled) OVER polls + 65536 * sum(coalesce(u.polled_high, 0)) OVER polls)
                            * interval '1 microsecond' AS polled_at,
                   sum(u.sequence) OVER polls + 65536 * sum(coalesce(u.sequence_high, 0)) OVER polls AS sequence,
                   u.observed + 65536 * coalesce(u.observed_high, 0)::bigint AS observed,
                   u.recorded + 65536 * coalesce(u.recorded_high, 0)::bigint AS recorded,
                   u.duration + 65536 * coalesce(u.duration_high, 0)::bigint AS duration,
                   u.skew + 65536 * coalesce(u.skew_high, 0)::bigint AS skew,
                   (u.written + 65536 * coalesce(u.written_high, 0)::bigint)::integer AS written
              FROM unnest(c.polled_low, c.polled_high, c.sequence_low, c.sequence_high, c.observed_low, c.observed_high,
                          c.recorded_low, c.recorded_high, c.duration_low, c.duration_high, c.durations, c.skew_low,
                          c.skew_high, c.skews, c.success_low, c.successes, c.written_low, c.written_high, c.kind, c.list,
                          c.correlation_uuids, c.correlation_ids, c.traceparents)
                   WITH ORDINALITY
                   AS u (polled, polled_high, sequence, sequence_high, observed, observed_high, recorded, recorded_high,
                         duration, duration_high, duration_exactly, skew, skew_high, skew_exactly, success, success_before,
                         written, written_high, kind, list, correlation_uuid, correlation_id, traceparent, place)
            WINDOW polls AS (ORDER BY u.place ROWS UNBOUNDED PRECEDING)) AS q
      JOIN jsonb_to_recordset(c.kinds)
           AS k (kind smallint, stream_id text, stream_began_at timestamptz, interval_seconds double precision,
                 staleness_seconds double precision, answered boolean, complete boolean, evaluated boolean, is_read boolean,
                 transitions integer, category text, known_category text, previous_category text,
                 category_changed_at timestamptz, failure_code text, failure_message text, policies_came text[],
                 policies_gone text[], policies_refused text[], rule_failures jsonb) ON k.kind = q.kind
      JOIN jsonb_to_recordset(c.lists) AS l (list smallint, policies text[]) ON l.list = q.list
    WINDOW polls AS (ORDER BY q.place)
$$;

-- The states of a chunk, as rows.
CREATE FUNCTION public.dict_rate_limit_states_of(c public.dict_rate_limit_chunks)
RETURNS TABLE (
    observed_at timestamptz, polled_at timestamptz, available_tokens bigint, capacity bigint, refill_tokens bigint,
    refill_period_seconds bigint, utilization_percent double precision, recovery_eta_seconds double precision,
    consumption_rate_per_minute double precision, exhaustion_projection_seconds double precision,
    error_404_rate double precision, responses_total bigint, responses_not_found bigint, responses_rate_limited bigint,
    participant text, policy text, category text, responses_instance text, error_429_rate double precision,
    lowest_available_tokens bigint
) LANGUAGE sql STABLE AS $$
    SELECT c.hour + times.observed[q.poll] * interval '1 microsecond',
           c.hour + times.polled[q.poll] * interval '1 microsecond',
           q.available, q.capacity, q.refill_tokens, q.refill_period_seconds,
           100.0::float8 * (q.capacity - least(greatest(q.available, 0), q.capacity)) / q.capacity,
           greatest(0, q.capacity::float8 - q.available) * q.refill_period_seconds / q.refill_tokens,
           coalesce(q.rate_exactly, rate.per_second * 60),
           CASE WHEN q.exhaustion_exactly IS NOT NULL THEN q.exhaustion_exactly
                WHEN rate.per_second IS NULL THEN NULL
                WHEN q.available <= 0 THEN 0
                WHEN rate.per_second - q.refill_tokens::float8 / q.refill_period_seconds > 1e-6::float8 / 60
                THEN q.available / (rate.per_second - q.refill_tokens::float8 / q.refill_period_seconds)
                ELSE 'Infinity'
            END,
           coalesce(q.share_404, CASE WHEN q.share > 0 THEN q.share_not_found / q.share_total::float8 END),
           q.total, q.not_found, q.rate_limited, c.participant, p.policy, q.category, q.responses_instance,
           coalesce(q.share_429, CASE WHEN q.share > 0 THEN q.share_rate_limited / q.share_total::float8 END),
           q.available - q.lowest
      FROM (SELECT array_agg(t.polled ORDER BY t.place) AS polled,
                   array_agg(t.polled + coalesce(t.observed, 0) ORDER BY t.place) AS observed
              FROM (SELECT sum(low) OVER polls + 65536 * sum(coalesce(high, 0)) OVER polls AS polled,
                           observed_low + 65536 * coalesce(observed_high, 0)::bigint AS observed,
                           place
                      FROM unnest(c.polled_low, c.polled_high, c.observed_low, c.observed_high) WITH ORDINALITY
                           AS u (low, high, observed_low, observed_high, place)
                    WINDOW polls AS (ORDER BY place ROWS UNBOUNDED PRECEDING)) AS t) AS times
     CROSS JOIN LATERAL (SELECT u.policy, coalesce(lag(u.ends) OVER (ORDER BY u.place), 0) + 1 AS begins, u.ends
                           FROM unnest(c.policies, c.ends) WITH ORDINALITY AS u (policy, ends, place)) AS p
     CROSS JOIN LATERAL (
           SELECT s.*, l.capacity, l.refill_tokens, l.refill_period_seconds, l.category, l.responses_instance,
                  CASE WHEN l.responses_instance IS NOT NULL THEN s.counted END AS total,
                  CASE WHEN l.responses_instance IS NOT NULL THEN s.counted_not_found END AS not_found,
                  CASE WHEN l.responses_instance IS NOT NULL THEN s.counted_rate_limited END AS rate_limited,
                  s.counted - lag(s.counted, coalesce(s.share, 0)) OVER states AS share_total,
                  s.counted_not_found - lag(s.counted_not_found, coalesce(s.share, 0)) OVER states AS share_not_found,
                  s.counted_rate_limited - lag(s.counted_rate_limited, coalesce(s.share, 0)) OVER states AS share_rate_limited
             FROM (SELECT u.place, u.layout, u.share, u.share_404, u.share_429, u.rate_exactly, u.exhaustion_exactly,
                          u.back,
                          (sum(u.poll) OVER states + 65536 * sum(coalesce(u.poll_high, 0)) OVER states)::integer AS poll,
                          sum(u.available) OVER states + 65536 * sum(coalesce(u.available_high, 0)) OVER states AS available,
                          sum(u.total) OVER states + 65536 * sum(coalesce(u.total_high, 0)) OVER states AS counted,
                          sum(u.not_found) OVER states
                          + 65536 * sum(coalesce(u.not_found_high, 0)) OVER states AS counted_not_found,
                          sum(u.rate_limited) OVER states
                          + 65536 * sum(coalesce(u.rate_limited_high, 0)) OVER states AS counted_rate_limited,
                          u.lowest + 65536 * coalesce(u.lowest_high, 0)::bigint AS lowest,
                          u.consumed + 65536 * coalesce(u.consumed_high, 0)::bigint AS consumed
                     FROM unnest(c.poll_low[p.begins:p.ends], c.poll_high[p.begins:p.ends],
                                 c.available_low[p.begins:p.ends], c.available_high[p.begins:p.ends],
                                 c.total_low[p.begins:p.ends], c.total_high[p.begins:p.ends],
                                 c.not_found_low[p.begins:p.ends], c.not_found_high[p.begins:p.ends],
                                 c.rate_limited_low[p.begins:p.ends], c.rate_limited_high[p.begins:p.ends],
                                 c.lowest_low[p.begins:p.ends], c.lowest_high[p.begins:p.ends],
                                 c.layout[p.begins:p.ends],
                                 c.consumed_low[p.begins:p.ends], c.consumed_high[p.begins:p.ends],
                                 c.window_low[p.begins:p.ends], c.rates[p.begins:p.ends],
                                 c.exhaustions[p.begins:p.ends], c.share_low[p.begins:p.ends],
                                 c.shares_404[p.begins:p.ends], c.shares_429[p.begins:p.ends])
                          WITH ORDINALITY
                          AS u (poll, poll_high, available, available_high, total, total_high, not_found, not_found_high,
                                rate_limited, rate_limited_high, lowest, lowest_high, layout, consumed, consumed_high, back,
                                rate_exactly, exhaustion_exactly, share, share_404, share_429, place)
                   WINDOW states AS (ORDER BY u.place ROWS UNBOUNDED PRECEDING)) AS s
             JOIN jsonb_to_recordset(c.layouts)
                  AS l (layout smallint, capacity bigint, refill_tokens bigint, refill_period_seconds bigint,
                        category text, responses_instance text) ON l.layout = s.layout
           WINDOW states AS (ORDER BY s.place)) AS q
     CROSS JOIN LATERAL (
           SELECT q.consumed / ((times.observed[q.poll] - CASE WHEN q.poll > q.back
                                                               THEN times.observed[q.poll - q.back]
                                                               ELSE -c.earlier[q.back - q.poll + 1]
                                                           END) / 1e6::float8) AS per_second) AS rate
$$;

-- The participant is the chunk's: a condition on it chooses chunks before they are opened.
CREATE VIEW public.dict_rate_limit_states AS
SELECT observed_at, polled_at, available_tokens, capacity, refill_tokens, refill_period_seconds, utilization_percent,
       recovery_eta_seconds, consumption_rate_per_minute, exhaustion_projection_seconds, error_404_rate,
       responses_total, responses_not_found, responses_rate_limited, participant, policy, category, responses_instance,
       error_429_rate, lowest_available_tokens
  FROM public.dict_rate_limit_state_rows
 UNION ALL
SELECT s.observed_at, s.polled_at, s.available_tokens, s.capacity, s.refill_tokens, s.refill_period_seconds,
       s.utilization_percent, s.recovery_eta_seconds, s.consumption_rate_per_minute, s.exhaustion_projection_seconds,
       s.error_404_rate, s.responses_total, s.responses_not_found, s.responses_rate_limited, c.participant, s.policy,
       s.category, s.responses_instance, s.error_429_rate, s.lowest_available_tokens
  FROM public.dict_rate_limit_chunks AS c CROSS JOIN LATERAL public.dict_rate_limit_states_of(c) AS s;

CREATE VIEW public.dict_rate_limit_reconciliations AS
SELECT polled_at, sequence, observed_at, last_success_at, category_changed_at, recorded_at, interval_seconds,
       staleness_seconds, duration_seconds, clock_skew_seconds, states_written, transitions, answered, complete,
       evaluated, participant, stream_id, category, correlation_id, traceparent, failure_code, failure_message,
       policies, policies_came, policies_gone, policies_refused, rule_failures, known_category, previous_category,
       stream_began_at, is_read
  FROM public.dict_rate_limit_reconciliation_rows
 UNION ALL
SELECT r.polled_at, r.sequence, r.observed_at, r.last_success_at, r.category_changed_at, r.recorded_at,
       r.interval_seconds, r.staleness_seconds, r.duration_seconds, r.clock_skew_seconds, r.states_written,
       r.transitions, r.answered, r.complete, r.evaluated, c.participant, r.stream_id, r.category, r.correlation_id,
       r.traceparent, r.failure_code, r.failure_message, r.policies, r.policies_came, r.policies_gone,
       r.policies_refused, r.rule_failures, r.known_category, r.previous_category, r.stream_began_at, r.is_read
  FROM public.dict_rate_limit_chunks AS c CROSS JOIN LATERAL public.dict_rate_limit_polls_of(c) AS r;

-- The same within a span of time, whose chunks alone are read. A state's two times are at most an hour apart in a chunk.
CREATE FUNCTION public.dict_rate_limit_states_between(since timestamptz, until timestamptz)
RETURNS SETOF public.dict_rate_limit_states LANGUAGE sql STABLE AS $$
    SELECT observed_at, polled_at, available_tokens, capacity, refill_tokens, refill_period_seconds,
           utilization_percent, recovery_eta_seconds, consumption_rate_per_minute, exhaustion_projection_seconds,
           error_404_rate, responses_total, responses_not_found, responses_rate_limited, participant, policy, category,
           responses_instance, error_429_rate, lowest_available_tokens
      FROM public.dict_rate_limit_state_rows AS r
     WHERE r.observed_at >= since AND r.observed_at < until
     UNION ALL
    SELECT s.observed_at, s.polled_at, s.available_tokens, s.capacity, s.refill_tokens, s.refill_period_seconds,
           s.utilization_percent, s.recovery_eta_seconds, s.consumption_rate_per_minute,
           s.exhaustion_projection_seconds, s.error_404_rate, s.responses_total, s.responses_not_found,
           s.responses_rate_limited, c.participant, s.policy, s.category, s.responses_instance, s.error_429_rate,
           s.lowest_available_tokens
      FROM public.dict_rate_limit_chunks AS c
     CROSS JOIN LATERAL public.dict_rate_limit_states_of(c) AS s
     WHERE c.hour > since - interval '2 hours'
       AND c.hour < until + interval '1 hour'
       AND s.observed_at >= since
       AND s.observed_at < until
$$;

CREATE FUNCTION public.dict_rate_limit_reconciliations_between(since timestamptz, until timestamptz)
RETURNS SETOF public.dict_rate_limit_reconciliations LANGUAGE sql STABLE AS $$
    SELECT polled_at, sequence, observed_at, last_success_at, category_changed_at, recorded_at, interval_seconds,
           staleness_seconds, duration_seconds, clock_skew_seconds, states_written, transitions, answered, complete,
           evaluated, participant, stream_id, category, correlation_id, traceparent, failure_code, failure_message,
           policies, policies_came, policies_gone, policies_refused, rule_failures, known_category, previous_category,
           stream_began_at, is_read
      FROM public.dict_rate_limit_reconciliation_rows AS r
     WHERE r.polled_at >= since AND r.polled_at < until
     UNION ALL
    SELECT r.polled_at, r.sequence, r.observed_at, r.last_success_at, r.category_changed_at, r.recorded_at,
           r.interval_seconds, r.staleness_seconds, r.duration_seconds, r.clock_skew_seconds, r.states_written,
           r.transitions, r.answered, r.complete, r.evaluated, c.participant, r.stream_id, r.category,
           r.correlation_id, r.traceparent, r.failure_code, r.failure_message, r.policies, r.policies_came,
           r.policies_gone, r.policies_refused, r.rule_failures, r.known_category, r.previous_category,
           r.stream_began_at, r.is_read
      FROM public.dict_rate_limit_chunks AS c
     CROSS JOIN LATERAL public.dict_rate_limit_polls_of(c) AS r
     WHERE c.hour > since - interval '1 hour'
       AND c.hour < until
       AND r.polled_at >= since
       AND r.polled_at < until
$$;

-- Compacts what a participant's hour has of polls and their states, in either form, and returns how many they are. What
-- comes back from the chunk is compared with what went into it. Left as rows: a bucket's newest state, and states that no
-- poll of the hour belongs to.
CREATE FUNCTION public.dict_rate_limit_compact(of_participant text, of_hour timestamptz, OUT polls integer, OUT states integer)
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- New partitions have no statistics: a plan for a row or two would take minutes for thousands.
    SET enable_nestloop = off
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    before       bigint[];
    buckets      text[];
    newest       timestamptz[];
    went_in      numeric[];
    comes_back   numeric[];
BEGIN
    IF of_hour <> date_trunc('hour', of_hour, 'UTC') THEN
        RAISE EXCEPTION '% is not a whole hour', of_hour USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT array_agg(p.policy), array_agg(s.observed_at)
      INTO buckets, newest
      FROM public.dict_rate_limit_policies AS p
     CROSS JOIN LATERAL (
           SELECT observed_at
             FROM public.dict_rate_limit_state_rows
            WHERE participant = of_participant AND policy = p.policy
            ORDER BY observed_at DESC
            LIMIT 1) AS s
     WHERE p.participant = of_participant;
    -- Rates near the beginning of the hour go back to polls before it.
    SELECT coalesce(array_agg(us ORDER BY us), '{}')
      INTO before
      FROM (SELECT public.dict_rate_limit_microseconds(observed_at - of_hour) AS us
              FROM public.dict_rate_limit_reconciliations_between(of_hour - interval '40 minutes', of_hour)
             WHERE participant = of_participant AND answered) AS earlier
     WHERE us < 0;

    WITH poll_rows AS (
           DELETE FROM public.dict_rate_limit_reconciliation_rows AS r
            WHERE r.participant = of_participant
              AND r.polled_at >= of_hour
              AND r.polled_at < of_hour + interval '1 hour'
        RETURNING polled_at, sequence, observed_at, last_success_at, category_changed_at, recorded_at,
                  interval_seconds, staleness_seconds, duration_seconds, clock_skew_seconds, states_written,
                  transitions, answered, complete, evaluated, participant, stream_id, category, correlation_id,
                  traceparent, failure_code, failure_message, policies, policies_came, policies_gone, policies_refused,
                  rule_failures, known_category, previous_category, stream_began_at, is_read),
         state_rows AS (
           DELETE FROM public.dict_rate_limit_state_rows AS s
            WHERE s.participant = of_participant
              AND s.policy = ANY (buckets)
              AND s.observed_at >= of_hour - interval '1 hour'
              AND s.observed_at < of_hour + interval '2 hours'
              AND s.observed_at < newest[array_position(buckets, s.policy)]
              AND s.polled_at >= of_hour
              AND s.polled_at < of_hour + interval '1 hour'
        RETURNING observed_at, polled_at, available_tokens, capacity, refill_tokens, refill_period_seconds,
                  utilization_percent, recovery_eta_seconds, consumption_rate_per_minute,
                  exhaustion_projection_seconds, error_404_rate, responses_total, responses_not_found,
                  responses_rate_limited, participant, policy, category, responses_instance, error_429_rate,
                  lowest_available_tokens),
         chunks AS (
           DELETE FROM public.dict_rate_limit_chunks AS c
            WHERE c.participant = of_participant AND c.hour = of_hour
        RETURNING c.*),
         all_polls AS MATERIALIZED (
           SELECT * FROM poll_rows
            UNION ALL
           SELECT r.* FROM chunks AS c CROSS JOIN LATERAL public.dict_rate_limit_polls_of(c) AS r),
         all_states AS MATERIALIZED (
           SELECT * FROM state_rows
            UNION ALL
           SELECT s.* FROM chunks AS c CROSS JOIN LATERAL public.dict_rate_limit_states_of(c) AS s),
         numbered AS MATERIALIZED (
           SELECT row_number() OVER (ORDER BY polled_at, stream_id, sequence)::integer AS n,
                  public.dict_rate_limit_microseconds(polled_at - of_hour) AS polled,
                  public.dict_rate_limit_microseconds(observed_at - polled_at) AS observed,
                  public.dict_rate_limit_microseconds(recorded_at - polled_at) AS recorded,
                  dense_rank() OVER (ORDER BY stream_id, stream_began_at, interval_seconds, staleness_seconds, answered,
                      complete, evaluated, is_read, transitions, category, known_category, previous_category,
                      category_changed_at, failure_code, failure_message, policies_came, policies_gone, policies_refused,
                      rule_failures)::smallint AS kind,
                  dense_rank() OVER (ORDER BY policies)::smallint AS list,
                  all_polls.*
             FROM all_polls),
         successes AS (
           SELECT polled_at, max(n) AS n FROM numbered GROUP BY polled_at),
         related AS MATERIALIZED (
           SELECT p.*,
                  CASE WHEN p.n - s.n BETWEEN 0 AND 32767 THEN (p.n - s.n)::smallint END AS success
             FROM numbered AS p
             LEFT JOIN successes AS s ON s.polled_at = p.last_success_at),
         measured AS MATERIALIZED (
           SELECT p.*,
                  CASE WHEN abs(p.duration_seconds) < 1e9 THEN round(p.duration_seconds * 1e6)::bigint END AS duration,
                  CASE WHEN abs(p.clock_skew_seconds) < 1e9 THEN round(p.clock_skew_seconds * 1e6)::bigint END AS skew,
                  lag(coalesce(p.observed, 0), coalesce(p.success, 0)) OVER (ORDER BY p.n) AS skew_base
             FROM related AS p),
         kinds AS (
           SELECT jsonb_agg(DISTINCT jsonb_strip_nulls(jsonb_build_object(
                      'kind', kind, 'stream_id', stream_id, 'stream_began_at', stream_began_at, 'interval_seconds',
                      interval_seconds, 'staleness_seconds', staleness_seconds, 'answered', answered, 'complete', complete,
                      'evaluated', evaluated, 'is_read', is_read, 'transitions', transitions, 'category', category,
                      'known_category', known_category, 'previous_category', previous_category, 'category_changed_at',
                      category_changed_at, 'failure_code', failure_code, 'failure_message', failure_message,
                      'policies_came', policies_came, 'policies_gone', policies_gone, 'policies_refused', policies_refused,
                      'rule_failures', rule_failures))) AS kinds
             FROM numbered),
         lists AS (
           SELECT jsonb_agg(DISTINCT jsonb_strip_nulls(jsonb_build_object('list', list, 'policies', policies))) AS lists
             FROM numbered),
         -- Arrays are in the order of the rows below them: nothing here may sort these again.
         poll_arrays AS (
           SELECT count(*)::integer AS polls,
                  array_agg(polled - before_polled) AS polled,
                  array_agg(sequence - before_sequence) AS sequence,
                  array_agg(observed) AS observed,
                  array_agg(polled + coalesce(observed, 0)) AS observed_in_hour,
                  array_agg(recorded - recorded_after) AS recorded,
                  min(recorded_after) AS recorded_after,
                  array_agg(CASE WHEN duration / 1e6::float8 = duration_seconds THEN duration END) AS duration,
                  array_agg(CASE WHEN duration / 1e6::float8 = duration_seconds THEN NULL ELSE duration_seconds END)
                      AS durations,
                  array_agg(CASE WHEN skew / 1e6::float8 = clock_skew_seconds THEN skew - skew_base END) AS skew,
                  array_agg(CASE WHEN skew / 1e6::float8 = clock_skew_seconds THEN NULL ELSE clock_skew_seconds END) AS skews,
                  array_agg(success) AS success,
                  array_agg(CASE WHEN success IS NULL
                                 THEN public.dict_rate_limit_microseconds(polled_at - last_success_at) END) AS successes,
                  array_agg(states_written::bigint) AS written,
                  array_agg(kind) AS kind,
                  array_agg(list) AS list,
                  array_agg(CASE WHEN correlation_id ~ '^[0-9a-f]{32}$' THEN correlation_id::uuid END) AS correlation_uuids,
                  array_agg(CASE WHEN correlation_id ~ '^[0-9a-f]{32}$' THEN NULL ELSE correlation_id END) AS correlation_ids,
                  array_agg(traceparent) AS traceparents
             FROM (SELECT *,
                          min(recorded) OVER () AS recorded_after,
                          lag(polled, 1, 0::bigint) OVER polls AS before_polled,
                          lag(sequence, 1, 0::bigint) OVER polls AS before_sequence
                     FROM measured
                   WINDOW polls AS (ORDER BY n)
                    ORDER BY n) AS p),
         belonging AS MATERIALIZED (
           SELECT s.*, p.n, hashtextextended(s::text, 0) AS hash
             FROM all_states AS s
             LEFT JOIN (SELECT polled_at, observed_at, min(n) AS n FROM numbered GROUP BY 1, 2) AS p
               ON p.polled_at = s.polled_at AND p.observed_at = s.observed_at
              AND s.observed_at BETWEEN s.polled_at - interval '1 hour' AND s.polled_at + interval '1 hour'
              AND s.utilization_percent
                  = 100.0::float8 * (s.capacity - least(greatest(s.available_tokens, 0), s.capacity)) / s.capacity
              AND s.recovery_eta_seconds
                  = greatest(0, s.capacity::float8 - s.available_tokens) * s.refill_period_seconds / s.refill_tokens),
         ordered AS MATERIALIZED (
           SELECT *,
                  row_number() OVER (ORDER BY policy, n)::integer AS place,
                  row_number() OVER policies::integer AS within,
                  dense_rank() OVER (ORDER BY capacity, refill_tokens, refill_period_seconds, category,
                                              responses_instance)::smallint AS layout,
                  n - lag(n, 1, 0) OVER policies AS polls_since,
                  available_tokens - lag(available_tokens, 1, 0::bigint) OVER policies AS available,
                  coalesce(responses_total, 0)
                  - lag(coalesce(responses_total, 0), 1, 0::bigint) OVER policies AS total,
                  coalesce(responses_not_found, 0)
                  - lag(coalesce(responses_not_found, 0), 1, 0::bigint) OVER policies AS not_found,
                  coalesce(responses_rate_limited, 0)
                  - lag(coalesce(responses_rate_limited, 0), 1, 0::bigint) OVER policies AS rate_limited
             FROM belonging
            WHERE n IS NOT NULL
           WINDOW policies AS (PARTITION BY policy ORDER BY n)),
         layouts AS (
           SELECT jsonb_agg(DISTINCT jsonb_strip_nulls(jsonb_build_object(
                      'layout', layout, 'capacity', capacity, 'refill_tokens', refill_tokens, 'refill_period_seconds',
                      refill_period_seconds, 'category', category, 'responses_instance', responses_instance))) AS layouts
             FROM ordered),
         state_arrays AS (
           SELECT count(*)::integer AS states,
                  array_agg(polls_since::bigint) AS poll,
                  array_agg(available) AS available,
                  array_agg(total) AS total,
                  array_agg(not_found) AS not_found,
                  array_agg(rate_limited) AS rate_limited,
                  array_agg(available_tokens - lowest_available_tokens) AS lowest,
                  array_agg(layout) AS layout,
                  array_agg(n + cardinality(before)) AS at,
                  array_agg(available_tokens) AS tokens,
                  array_agg(refill_tokens::float8 / refill_period_seconds) AS refill_per_second,
                  array_agg(consumption_rate_per_minute) AS rates,
                  array_agg(exhaustion_projection_seconds) AS exhaustions,
                  array_agg(error_404_rate) AS shares_404,
                  array_agg(error_429_rate) AS shares_429,
                  array_agg(place - within + 1) AS firsts,
                  array_agg(coalesce(responses_total, 0)) AS totals,
                  array_agg(coalesce(responses_not_found, 0)) AS totals_not_found,
                  array_agg(coalesce(responses_rate_limited, 0)) AS totals_rate_limited
             FROM (SELECT * FROM ordered ORDER BY place) AS s),
         policy_arrays AS (
           SELECT array_agg(policy ORDER BY ends) AS policies, array_agg(ends ORDER BY ends) AS ends
             FROM (SELECT policy, max(place) AS ends FROM ordered GROUP BY policy) AS p),
         windows AS MATERIALIZED (
           SELECT w.begins, w.consumed, o.observed,
                  public.dict_rate_limit_share_windows(
                      s.shares_404, s.shares_429, s.firsts, s.totals, s.totals_not_found, s.totals_rate_limited) AS shares
             FROM state_arrays AS s
            CROSS JOIN (SELECT before || observed_in_hour AS observed FROM poll_arrays) AS o
            CROSS JOIN LATERAL public.dict_rate_limit_rate_windows(s.rates, s.at, o.observed) AS w),
         projected AS (
           SELECT u.*, w.observed[u.at] - w.observed[u.begins] AS span
             FROM state_arrays AS s
            CROSS JOIN windows AS w
            CROSS JOIN LATERAL unnest(s.rates, s.exhaustions, s.at, w.begins, w.consumed, s.tokens, s.refill_per_second,
                                      w.shares, s.shares_404, s.shares_429)
                  WITH ORDINALITY
                  AS u (rate, exhaustion, at, begins, consumed, tokens, refill_per_second, share, share_404, share_429, place)),
         figures AS (
           SELECT array_agg(CASE WHEN computed THEN consumed END) AS consumed,
                  array_agg(CASE WHEN computed THEN (at - begins)::smallint END) AS back,
                  array_agg(CASE WHEN computed THEN NULL ELSE rate END) AS rates,
                  array_agg(CASE WHEN computed THEN NULL ELSE exhaustion END) AS exhaustions,
                  array_agg(share) AS share,
                  array_agg(CASE WHEN share IS NULL THEN share_404 END) AS shares_404,
                  array_agg(CASE WHEN share IS NULL THEN share_429 END) AS shares_429,
                  min(begins) AS first
             FROM (SELECT p.*,
                          begins IS NOT NULL AND exhaustion IS NOT DISTINCT FROM
                          CASE WHEN tokens <= 0 THEN 0
                               WHEN consumed / (span / 1e6::float8) - refill_per_second > 1e-6::float8 / 60
                               THEN tokens / (consumed / (span / 1e6::float8) - refill_per_second)
                               ELSE 'Infinity'
                           END AS computed
                     FROM projected AS p
                    ORDER BY place) AS p),
         left_over AS (
           INSERT INTO public.dict_rate_limit_state_rows (
                  observed_at, polled_at, available_tokens, capacity, refill_tokens, refill_period_seconds,
                  utilization_percent, recovery_eta_seconds, consumption_rate_per_minute,
                  exhaustion_projection_seconds, error_404_rate, responses_total, responses_not_found,
                  responses_rate_limited, participant, policy, category, responses_instance, error_429_rate,
                  lowest_available_tokens)
           SELECT observed_at, polled_at, available_tokens, capacity, refill_tokens, refill_period_seconds,
                  utilization_percent, recovery_eta_seconds, consumption_rate_per_minute,
                  exhaustion_projection_seconds, error_404_rate, responses_total, responses_not_found,
                  responses_rate_limited, participant, policy, category, responses_instance, error_429_rate,
                  lowest_available_tokens
             FROM belonging
            WHERE n IS NULL),
         inserted AS (
           INSERT INTO public.dict_rate_limit_chunks
    SELECT of_hour, now(), p.polls, s.states, of_participant,
           public.dict_rate_limit_lows(p.polled), public.dict_rate_limit_highs(p.polled),
           public.dict_rate_limit_lows(p.sequence), public.dict_rate_limit_highs(p.sequence),
           public.dict_rate_limit_lows(p.observed), public.dict_rate_limit_highs(p.observed), p.recorded_after,
           public.dict_rate_limit_lows(p.recorded), public.dict_rate_limit_highs(p.recorded),
           public.dict_rate_limit_lows(p.duration), public.dict_rate_limit_highs(p.duration),
           public.dict_rate_limit_unless_null(p.durations),
           public.dict_rate_limit_lows(p.skew), public.dict_rate_limit_highs(p.skew),
           public.dict_rate_limit_unless_null(p.skews),
           p.success, public.dict_rate_limit_unless_null(p.successes),
           public.dict_rate_limit_lows(p.written), public.dict_rate_limit_highs(p.written),
           p.kind, k.kinds, p.list, l.lists,
           public.dict_rate_limit_unless_null(p.correlation_uuids), public.dict_rate_limit_unless_null(p.correlation_ids),
           public.dict_rate_limit_unless_null(p.traceparents),
           coalesce(b.policies, '{}'), coalesce(b.ends, '{}'),
           public.dict_rate_limit_lows(s.poll), public.dict_rate_limit_highs(s.poll),
           public.dict_rate_limit_lows(s.available), public.dict_rate_limit_highs(s.available),
           public.dict_rate_limit_lows(s.total), public.dict_rate_limit_highs(s.total),
           public.dict_rate_limit_lows(s.not_found), public.dict_rate_limit_highs(s.not_found),
           public.dict_rate_limit_lows(s.rate_limited), public.dict_rate_limit_highs(s.rate_limited),
           public.dict_rate_limit_lows(s.lowest), public.dict_rate_limit_highs(s.lowest),
           coalesce(s.layout, '{}'), coalesce(y.layouts, '[]'),
           public.dict_rate_limit_lows(f.consumed), public.dict_rate_limit_highs(f.consumed),
           coalesce(f.back::smallint[], '{}'),
           (SELECT array_agg(-e.us ORDER BY e.us DESC)
              FROM unnest(before) WITH ORDINALITY AS e (us, place)
             WHERE e.place >= f.first),
           public.dict_rate_limit_unless_null(f.rates), public.dict_rate_limit_unless_null(f.exhaustions),
           coalesce(f.share, '{}'),
           public.dict_rate_limit_unless_null(f.shares_404), public.dict_rate_limit_unless_null(f.shares_429)
      FROM poll_arrays AS p
     CROSS JOIN state_arrays AS s
     CROSS JOIN policy_arrays AS b
     CROSS JOIN figures AS f
     CROSS JOIN kinds AS k
     CROSS JOIN lists AS l
     CROSS JOIN layouts AS y
     WHERE p.polls > 0
 RETURNING dict_rate_limit_chunks.polls, dict_rate_limit_chunks.states)
    SELECT inserted.polls, inserted.states,
           ARRAY[(SELECT sum(hashtextextended(r::text, 0)) FROM all_polls AS r),
                 (SELECT sum(hash) FROM belonging WHERE n IS NOT NULL)]
      INTO polls, states, went_in
      FROM (SELECT 1) AS one
      LEFT JOIN inserted ON true;

    SELECT ARRAY[(SELECT sum(hashtextextended(r::text, 0)) FROM public.dict_rate_limit_polls_of(c) AS r),
                 (SELECT sum(hashtextextended(s::text, 0)) FROM public.dict_rate_limit_states_of(c) AS s)]
      INTO comes_back
      FROM public.dict_rate_limit_chunks AS c
     WHERE c.participant = of_participant AND c.hour = of_hour;
    IF polls > 0 AND went_in IS DISTINCT FROM comes_back THEN
        RAISE EXCEPTION 'the hour % of participant % does not come back from its chunk as it was', of_hour, of_participant
            USING ERRCODE = 'data_exception';
    END IF;
END
$$;

REVOKE ALL ON FUNCTION public.dict_rate_limit_compact(text, timestamptz) FROM PUBLIC;

-- Makes the partitions from the month before "at" to three months ahead, and drops those that lie more than
-- "retention_months" behind. Of a past month whose history is compacted it gives the space of the rows back.
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
    kept   text[];
    held   text;
    month  timestamptz;
    oldest timestamptz;
BEGIN
    IF retention_months < 1 THEN
        RAISE EXCEPTION 'retention_months is %; it must be at least 1', retention_months
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('dict_rate_limit_maintain_partitions'));
    oldest := date_trunc('month', least(at, now())) - make_interval(months => retention_months);

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
             UNION
            -- What is compacted goes where it would have been as rows.
            SELECT p.month FROM public.v_dict_rate_limit_partitions AS p WHERE p.month >= oldest
             ORDER BY 1
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

    -- What was compacted leaves its partition large and empty.
    FOR parent, partition IN
        SELECT p.parent, p.partition
          FROM public.v_dict_rate_limit_partitions AS p
         WHERE p.parent IN ('dict_rate_limit_state_rows', 'dict_rate_limit_reconciliation_rows')
           AND p.month < date_trunc('month', least(at, now()))
           AND pg_total_relation_size(format('public.%I', p.partition)::regclass) > 1000000
         ORDER BY p.partition
    LOOP
        EXECUTE format('SELECT array_agg(r::text) FROM (SELECT * FROM public.%I LIMIT 1001) AS r', partition) INTO kept;
        CONTINUE WHEN cardinality(kept) > 1000;
        BEGIN
            EXECUTE format('LOCK TABLE public.%I IN ACCESS EXCLUSIVE MODE', partition);
            EXECUTE format('SELECT array_agg(r::text) FROM public.%I AS r', partition) INTO kept;
            EXECUTE format('TRUNCATE public.%I', partition);
            EXECUTE format('INSERT INTO public.%1$I SELECT (r::public.%1$I).* FROM unnest($1) AS r', partition) USING kept;
            action := 'shrunk';
        EXCEPTION WHEN lock_not_available THEN
            action := 'postponed';
        END;
        RETURN NEXT;
    END LOOP;
END
$$;

SELECT public.dict_rate_limit_maintain_partitions(retention_months => 120);

-- A process of the release before writes on, while the installation is migrated under it.
CREATE FUNCTION public.dict_rate_limit_insert_state() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.dict_rate_limit_state_rows (
           observed_at, polled_at, available_tokens, capacity, refill_tokens, refill_period_seconds,
           utilization_percent, recovery_eta_seconds, consumption_rate_per_minute, exhaustion_projection_seconds,
           error_404_rate, responses_total, responses_not_found, responses_rate_limited, participant, policy, category,
           responses_instance, error_429_rate, lowest_available_tokens)
    SELECT NEW.observed_at, NEW.polled_at, NEW.available_tokens, NEW.capacity, NEW.refill_tokens,
           NEW.refill_period_seconds, NEW.utilization_percent, NEW.recovery_eta_seconds,
           NEW.consumption_rate_per_minute, NEW.exhaustion_projection_seconds, NEW.error_404_rate, NEW.responses_total,
           NEW.responses_not_found, NEW.responses_rate_limited, NEW.participant, NEW.policy, NEW.category,
           NEW.responses_instance, NEW.error_429_rate, NEW.lowest_available_tokens
        ON CONFLICT DO NOTHING;
    RETURN NEW;
END
$$;

CREATE FUNCTION public.dict_rate_limit_insert_reconciliation() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.recorded_at := coalesce(NEW.recorded_at, now());
    NEW.is_read := coalesce(NEW.is_read, false);
    INSERT INTO public.dict_rate_limit_reconciliation_rows (
           polled_at, sequence, observed_at, last_success_at, category_changed_at, recorded_at, interval_seconds,
           staleness_seconds, duration_seconds, clock_skew_seconds, states_written, transitions, answered, complete,
           evaluated, participant, stream_id, category, correlation_id, traceparent, failure_code, failure_message,
           policies, policies_came, policies_gone, policies_refused, rule_failures, known_category, previous_category,
           stream_began_at, is_read)
    SELECT NEW.polled_at, NEW.sequence, NEW.observed_at, NEW.last_success_at, NEW.category_changed_at, NEW.recorded_at,
           NEW.interval_seconds, NEW.staleness_seconds, NEW.duration_seconds, NEW.clock_skew_seconds,
           NEW.states_written, NEW.transitions, NEW.answered, NEW.complete, NEW.evaluated, NEW.participant,
           NEW.stream_id, NEW.category, NEW.correlation_id, NEW.traceparent, NEW.failure_code, NEW.failure_message,
           NEW.policies, NEW.policies_came, NEW.policies_gone, NEW.policies_refused, NEW.rule_failures,
           NEW.known_category, NEW.previous_category, NEW.stream_began_at, NEW.is_read
        ON CONFLICT DO NOTHING;
    RETURN NEW;
END
$$;

CREATE TRIGGER insert_state INSTEAD OF INSERT ON public.dict_rate_limit_states
    FOR EACH ROW EXECUTE FUNCTION public.dict_rate_limit_insert_state();
CREATE TRIGGER insert_reconciliation INSTEAD OF INSERT ON public.dict_rate_limit_reconciliations
    FOR EACH ROW EXECUTE FUNCTION public.dict_rate_limit_insert_reconciliation();

-- Compaction counts its own commits.
ALTER TABLE public.dict_rate_limit_commits
    DROP CONSTRAINT dict_rate_limit_commits_part_check,
    ADD CONSTRAINT dict_rate_limit_commits_part_check CHECK (part IN ('reconciler', 'relay', 'compaction'));
INSERT INTO public.dict_rate_limit_commits (part) VALUES ('compaction');

COMMENT ON VIEW public.dict_rate_limit_states IS 'Bucket states; a bucket keeps its state until its next row';
COMMENT ON VIEW public.dict_rate_limit_reconciliations IS 'Polls taken through the rules and into the database';
COMMENT ON COLUMN public.dict_rate_limit_states.observed_at IS 'DICT''s response time (UTC)';
COMMENT ON COLUMN public.dict_rate_limit_states.polled_at IS 'The poll''s own time (UTC)';
COMMENT ON COLUMN public.dict_rate_limit_states.consumption_rate_per_minute IS 'Tokens per minute, refill added back; null: not known yet';
COMMENT ON COLUMN public.dict_rate_limit_states.exhaustion_projection_seconds IS 'Seconds to empty; Infinity when not draining; null: not known yet';
COMMENT ON COLUMN public.dict_rate_limit_states.error_404_rate IS 'Share of answers that were 404, 0 to 1; null: nothing counted';
COMMENT ON COLUMN public.dict_rate_limit_states.responses_total IS 'Answers counted by one Bridge instance since it started, 404s and 429s included';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.sequence IS 'The stream''s polls from 1; 0: a poll that no exporter made (FEED_LOST)';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.complete IS 'Whether every bucket of the answer was written at this poll';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.evaluated IS 'False: the poll came late; its states are kept, rules were not evaluated';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.policies IS 'Policies in the answer; null: as in the stream''s answered poll before';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.rule_failures IS 'Rules that could not be evaluated: [{group, name, message}]';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.known_category IS 'The last category that was answered, at this poll or before';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.previous_category IS 'The one before it; null: not known';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.stream_began_at IS 'When the exporter of this stream started';
COMMENT ON COLUMN public.dict_rate_limit_states.available_tokens IS 'As DICT answered; below 0: in debt';
COMMENT ON COLUMN public.dict_rate_limit_states.utilization_percent IS '100 x (1 - available / capacity), 0 to 100';
COMMENT ON COLUMN public.dict_rate_limit_states.recovery_eta_seconds IS 'Seconds to full if nothing is consumed; 0 when full';
COMMENT ON COLUMN public.dict_rate_limit_reconciliations.is_read IS 'Whether single buckets were asked for, those of "policies"; false: all were. A read that changed nothing has no row';
COMMENT ON COLUMN public.dict_rate_limit_states.error_429_rate IS 'Share of answers that were 429, 0 to 1; null: nothing counted';
COMMENT ON COLUMN public.dict_rate_limit_states.lowest_available_tokens IS 'The lowest level that an answer showed, or a 429 proved, within poll.lowest_window; null: of an exporter before that';

-- Functions mean the same whatever the session that calls them has set. Those in plain SQL are taken into the statements
-- that call them, and hold to what no setting changes.
DO $$
DECLARE
    function regprocedure;
BEGIN
    FOREACH function IN ARRAY ARRAY[
        'public.dict_rate_limit_rate_windows(double precision[], integer[], bigint[])',
        'public.dict_rate_limit_share_windows(double precision[], double precision[], integer[], bigint[], bigint[], bigint[])',
        'public.dict_rate_limit_compact(text, timestamptz)',
        'public.dict_rate_limit_insert_state()',
        'public.dict_rate_limit_insert_reconciliation()'
    ]::regprocedure[]
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET standard_conforming_strings = on', function);
        EXECUTE format('ALTER FUNCTION %s SET DateStyle = ''ISO, YMD''', function);
        EXECUTE format('ALTER FUNCTION %s SET IntervalStyle = postgres', function);
        EXECUTE format('ALTER FUNCTION %s SET timezone = ''UTC''', function);
        EXECUTE format('ALTER FUNCTION %s SET array_nulls = on', function);
        EXECUTE format('ALTER FUNCTION %s SET bytea_output = hex', function);
        EXECUTE format('ALTER FUNCTION %s SET extra_float_digits = 1', function);
        EXECUTE format('ALTER FUNCTION %s SET transform_null_equals = off', function);
    END LOOP;
END
$$;

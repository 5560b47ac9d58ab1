-- At most one open alert per identity, however many processes run. Serves the open alerts, too.
CREATE UNIQUE INDEX dict_rate_limit_alerts_open
    ON public.dict_rate_limit_alerts (fingerprint)
    WHERE state IN ('pending', 'firing');

-- Serves the alert history of a participant, and of all.
CREATE INDEX dict_rate_limit_alerts_by_participant ON public.dict_rate_limit_alerts (participant, active_since DESC);
CREATE INDEX dict_rate_limit_alerts_by_time ON public.dict_rate_limit_alerts (active_since DESC);

-- Which partitions there are: the parent, the partition, and the month (UTC) it begins with.
CREATE VIEW public.v_dict_rate_limit_partitions AS
SELECT parent.relname::text AS parent,
       child.relname::text  AS partition,
       to_timestamp(right(child.relname, 7) || ' +00', 'YYYY_MM TZH') AS month
  FROM pg_catalog.pg_inherits
  JOIN pg_catalog.pg_class AS parent ON parent.oid = inhparent
  JOIN pg_catalog.pg_class AS child ON child.oid = inhrelid
 WHERE parent.relkind = 'p'
   AND parent.relnamespace = 'public'::regnamespace
   AND parent.relname LIKE 'dict\_rate\_limit\_%'
   AND child.relname ~ '_\d{4}_\d{2}$';

-- Makes the partitions from the month before "at" to three months ahead, and drops those that lie
-- more than "retention_months" behind. Run hourly; doing it twice changes nothing.
-- A partition that something else holds is left, reported as postponed, and tried again at the next run.
-- Dropping goes by the database's clock where "at" lies ahead of it: a wrong clock must not cost history.
CREATE FUNCTION public.dict_rate_limit_maintain_partitions(
    retention_months integer,
    at timestamptz DEFAULT now()
) RETURNS TABLE (partition text, action text)
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET lock_timeout = '1s'
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

REVOKE ALL ON FUNCTION public.dict_rate_limit_maintain_partitions(integer, timestamptz) FROM PUBLIC;

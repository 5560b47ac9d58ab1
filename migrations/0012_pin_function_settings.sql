-- Functions mean the same whatever the session that calls them has set.
DO $$
DECLARE
    function regprocedure;
BEGIN
    FOREACH function IN ARRAY ARRAY[
        'public.dict_rate_limit_refuse_alert_deletion()',
        'public.dict_rate_limit_maintain_partitions(integer, timestamptz)',
        'public.dict_rate_limit_transition_hash(public.dict_rate_limit_alert_transitions)',
        'public.dict_rate_limit_chain_transition()',
        'public.dict_rate_limit_refuse()',
        'public.dict_rate_limit_prune_outbox(double precision, integer)'
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

DO $$
DECLARE
    function regprocedure;
    setting  text;
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
        FOREACH setting IN ARRAY ARRAY['standard_conforming_strings', 'DateStyle', 'IntervalStyle', 'timezone',
                                       'array_nulls', 'bytea_output', 'extra_float_digits', 'transform_null_equals']
        LOOP
            -- Which it had before.
            CONTINUE WHEN setting = 'timezone' AND function::text LIKE '%maintain_partitions%';
            EXECUTE format('ALTER FUNCTION %s RESET %I', function, setting);
        END LOOP;
    END LOOP;
END
$$;

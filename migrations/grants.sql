-- What the roles of roles.sql may do. Run after every `migrate up`; a role that is not there is passed over,
-- so one user can also own and write everything.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'dict_rate_limit_writer') THEN
        GRANT SELECT, INSERT ON public.dict_rate_limit_state_rows, public.dict_rate_limit_reconciliation_rows,
            public.dict_rate_limit_states, public.dict_rate_limit_reconciliations, public.dict_rate_limit_alert_transitions
            TO dict_rate_limit_writer;
        GRANT SELECT ON public.dict_rate_limit_chunks TO dict_rate_limit_writer;
        GRANT SELECT, INSERT, UPDATE ON public.dict_rate_limit_policies TO dict_rate_limit_writer;
        -- What an earlier release gave.
        REVOKE UPDATE, DELETE ON public.dict_rate_limit_alerts, public.dict_rate_limit_outbox FROM dict_rate_limit_writer;
        -- Triggers see to it that only pending alerts go, and that what has ended stays as it is.
        GRANT SELECT, INSERT, DELETE,
            UPDATE (rule_group, severity, labels, annotations, value, state, firing_since, keep_firing_since, resolved_at,
                    reason, closed_at)
            ON public.dict_rate_limit_alerts TO dict_rate_limit_writer;
        GRANT SELECT, INSERT, UPDATE (state, sequence_id, producer, attempts, last_error, published_at)
            ON public.dict_rate_limit_outbox TO dict_rate_limit_writer;
        GRANT SELECT ON public.dict_rate_limit_audit_head TO dict_rate_limit_writer;
        GRANT SELECT, UPDATE ON public.dict_rate_limit_lease, public.dict_rate_limit_commits TO dict_rate_limit_writer;
        GRANT SELECT, UPDATE (id) ON public.dict_rate_limit_installation TO dict_rate_limit_writer;
        GRANT SELECT ON public.dict_rate_limit_migrations, public.v_dict_rate_limit_partitions, public.v_dict_rate_limit_latest_states,
            public.v_dict_rate_limit_active_alerts TO dict_rate_limit_writer;
        GRANT EXECUTE ON FUNCTION public.dict_rate_limit_maintain_partitions(integer, timestamptz),
            public.dict_rate_limit_compact(text, timestamptz), public.dict_rate_limit_prune_outbox(double precision, integer) TO dict_rate_limit_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'dict_rate_limit_reader') THEN
        GRANT SELECT ON public.dict_rate_limit_states, public.dict_rate_limit_reconciliations, public.dict_rate_limit_state_rows,
            public.dict_rate_limit_reconciliation_rows, public.dict_rate_limit_chunks, public.dict_rate_limit_policies,
            public.dict_rate_limit_alerts, public.dict_rate_limit_alert_transitions, public.dict_rate_limit_outbox, public.dict_rate_limit_lease,
            public.dict_rate_limit_audit_head, public.dict_rate_limit_commits, public.dict_rate_limit_installation, public.dict_rate_limit_migrations, public.v_dict_rate_limit_partitions,
            public.v_dict_rate_limit_latest_states, public.v_dict_rate_limit_active_alerts TO dict_rate_limit_reader;
    END IF;
END
$$;

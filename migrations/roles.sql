-- Run once per database by a superuser, before `dict-rate-limit migrate up` as dict_rate_limit_migrator:
--
--     psql -d DATABASE -f roles.sql
--     psql -d DATABASE -c "ALTER ROLE dict_rate_limit_migrator LOGIN PASSWORD '...'"     (the other two likewise)
--
-- migrator owns the schema; writer is the exporter's and reconciler's; reader is Grafana's and people's.
-- What writer and reader may do with each table is in grants.sql. Running this twice changes nothing.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['dict_rate_limit_migrator', 'dict_rate_limit_writer', 'dict_rate_limit_reader'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- it is there, or another session has just made it
        END;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), name);
    END LOOP;
END
$$;

-- PostgreSQL 14 lets everyone make tables in public.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO dict_rate_limit_migrator, dict_rate_limit_writer, dict_rate_limit_reader;
GRANT CREATE ON SCHEMA public TO dict_rate_limit_migrator;

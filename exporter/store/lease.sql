-- The lease of the reconciler.

-- settings --
-- Bounds what a transaction can hold: a process frozen in the middle of one must not keep others out.
SELECT set_config('lock_timeout', %(lock)s, true),
       set_config('idle_in_transaction_session_timeout', '4s', true),
       set_config('statement_timeout', '8s', true);

-- bound_long --
-- Bounds a transaction that takes the fence at its end only, until then.
SELECT set_config('lock_timeout', '3s', true),
       set_config('idle_in_transaction_session_timeout', '4s', true),
       set_config('statement_timeout', '25s', true);

-- fence --
-- The holder of the lease, locked until the transaction ends, and how often a component has committed, this time included.
-- Bounds the transaction as "settings" does.
WITH bounds AS MATERIALIZED (
       SELECT set_config('lock_timeout', '3s', true),
              set_config('idle_in_transaction_session_timeout', '4s', true),
              set_config('statement_timeout', '8s', true),
              CASE WHEN current_setting('server_version_num')::int >= 170000
                   THEN set_config('transaction_timeout', '8s', true) END),
     lease AS MATERIALIZED (
       SELECT l.epoch, l.holder
         FROM dict_rate_limit_lease AS l
        CROSS JOIN bounds
          FOR SHARE OF l)
UPDATE dict_rate_limit_commits AS c
   SET commits = c.commits + 1
  FROM lease
 WHERE c.part = %(part)s
RETURNING lease.epoch, lease.holder, c.commits, clock_timestamp();

-- end_frozen --
-- Ends sessions that still lock a lease which has expired: their process froze, or its host vanished, within a message,
-- where before PostgreSQL 17 no timeout looks.
SELECT pg_terminate_backend(session.pid)
  FROM dict_rate_limit_lease AS lease
 CROSS JOIN pg_stat_activity AS session
  JOIN pg_locks AS lock ON lock.pid = session.pid
 WHERE lease.expires_at <= clock_timestamp()
   AND lock.relation = 'dict_rate_limit_lease'::regclass
   AND lock.mode = 'RowShareLock'
   AND lock.granted
   AND session.datname = current_database()
   AND session.usename = current_user
   AND session.xact_start < clock_timestamp() - interval '6 s';

-- acquire --
-- Acquires the lease where it is free, has expired, or is this holder's own, and returns all counters; or else its holder.
WITH taken AS (
       UPDATE dict_rate_limit_lease
          SET holder = %(holder)s,
              epoch = epoch + 1,
              renewals = renewals + 1,
              expires_at = clock_timestamp() + make_interval(secs => %(ttl_seconds)s)
        WHERE holder IS NULL OR holder = %(holder)s OR expires_at <= clock_timestamp()
    RETURNING epoch, renewals)
SELECT taken.epoch, taken.renewals, (SELECT jsonb_object_agg(part, commits) FROM dict_rate_limit_commits),
       clock_timestamp(), lease.holder
  FROM dict_rate_limit_lease AS lease
  LEFT JOIN taken ON true;

-- renew --
-- Renews the lease, unless another holds it, and returns its holder, and how often it has been renewed.
WITH renewed AS (
       UPDATE dict_rate_limit_lease
          SET renewals = renewals + 1,
              expires_at = clock_timestamp() + make_interval(secs => %(ttl_seconds)s)
        WHERE epoch = %(epoch)s AND holder = %(holder)s
    RETURNING renewals)
SELECT epoch, holder, (SELECT renewals FROM renewed)
  FROM dict_rate_limit_lease;

-- release --
-- Gives the lease back at once.
UPDATE dict_rate_limit_lease
   SET holder = NULL, expires_at = '-infinity'
 WHERE epoch = %(epoch)s AND holder = %(holder)s;

-- Who reconciles.

-- settings --
-- Bounds what a transaction can hold: a process frozen in the middle of one must not keep others out.
SELECT set_config('lock_timeout', %(lock)s, true),
       set_config('idle_in_transaction_session_timeout', '4s', true),
       set_config('statement_timeout', '8s', true);

-- fence --
-- Whether the lease is still this holder's; it stays so until the transaction ends. Bounds it as "settings" does.
WITH bounds AS MATERIALIZED (
       SELECT set_config('lock_timeout', '3s', true),
              set_config('idle_in_transaction_session_timeout', '4s', true),
              set_config('statement_timeout', '8s', true),
              CASE WHEN current_setting('server_version_num')::int >= 170000
                   THEN set_config('transaction_timeout', '8s', true) END)
SELECT lease.epoch
  FROM dict_rate_limit_lease AS lease
 CROSS JOIN bounds
 WHERE lease.epoch = %(epoch)s AND lease.holder = %(holder)s
   FOR SHARE OF lease;

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
-- Takes the lease where it is free, has expired, or is this holder's own.
UPDATE dict_rate_limit_lease
   SET holder = %(holder)s,
       epoch = epoch + 1,
       expires_at = clock_timestamp() + make_interval(secs => %(ttl_seconds)s)
 WHERE holder IS NULL OR holder = %(holder)s OR expires_at <= clock_timestamp()
RETURNING epoch;

-- renew --
-- Keeps the lease for another while, unless another has taken it.
UPDATE dict_rate_limit_lease
   SET expires_at = clock_timestamp() + make_interval(secs => %(ttl_seconds)s)
 WHERE epoch = %(epoch)s AND holder = %(holder)s
RETURNING epoch;

-- release --
-- Gives the lease back at once.
UPDATE dict_rate_limit_lease
   SET holder = NULL, expires_at = '-infinity'
 WHERE epoch = %(epoch)s AND holder = %(holder)s
RETURNING epoch;

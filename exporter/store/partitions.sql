-- Monthly partitions.

-- maintain --
-- Makes partitions ahead, and drops those past their retention.
SELECT partition, action
  FROM dict_rate_limit_maintain_partitions(%(retention_months)s::int, coalesce(%(at)s::timestamptz, now()));

-- ready_months --
-- How many months after the current one every partitioned table has a partition for; -1: not even for the current one.
WITH current AS (
       SELECT date_trunc('month', coalesce(%(at)s::timestamptz, now()), 'UTC') AS month)
SELECT coalesce(min(CASE WHEN ready.this_one THEN ready.later ELSE -1 END), -1)::int
  FROM pg_class AS parent
 CROSS JOIN LATERAL (
       SELECT coalesce(bool_or(p.month = current.month), false) AS this_one,
              count(*) FILTER (WHERE p.month > current.month) AS later
         FROM current
         LEFT JOIN v_dict_rate_limit_partitions AS p ON p.parent = parent.relname
        ) AS ready
 WHERE parent.relkind = 'p'
   AND parent.relnamespace = 'public'::regnamespace
   AND parent.relname LIKE 'dict\_rate\_limit\_%%';

-- detached --
-- Tables with a partition's name that are no partitions.
SELECT child.relname::text
  FROM pg_class AS parent
  JOIN pg_class AS child
    ON child.relnamespace = parent.relnamespace
   AND child.relname ~ ('^' || parent.relname || '_\d{4}_\d{2}$')
 WHERE parent.relkind = 'p'
   AND parent.relnamespace = 'public'::regnamespace
   AND parent.relname LIKE 'dict\_rate\_limit\_%'
   AND child.relkind = 'r'
   AND NOT child.relispartition
 ORDER BY child.relname;

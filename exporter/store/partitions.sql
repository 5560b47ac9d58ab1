-- Monthly partitions.

-- maintain --
-- Makes partitions ahead, and drops those past their retention.
SELECT partition, action
  FROM dict_rate_limit_maintain_partitions(%(retention_months)s::int, coalesce(%(at)s::timestamptz, now()));

-- ready_months --
-- How many months after the current one every partitioned table has a partition for.
SELECT coalesce(min(ready), 0)::int
  FROM (SELECT count(*) FILTER (WHERE month > coalesce(%(at)s::timestamptz, now())) AS ready
          FROM v_dict_rate_limit_partitions
         GROUP BY parent) AS by_parent;

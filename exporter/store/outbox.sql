-- Events on their way to Pulsar. Rows are sent in the order of their sequence ids.

-- take --
-- Gives the next pending rows sequence ids where they have none of this producer's, and returns them in the order of sending.
WITH again AS (
       SELECT id, sequence_id
         FROM dict_rate_limit_outbox
        WHERE state = 'pending'
          AND sequence_id IS NOT NULL
          AND producer = %(producer)s::text
        ORDER BY sequence_id
        LIMIT %(limit)s::int),
     fresh AS (
       SELECT id
         FROM dict_rate_limit_outbox
        WHERE state = 'pending'
          AND (sequence_id IS NULL OR producer IS DISTINCT FROM %(producer)s::text)
          AND fingerprint <> ALL (%(quarantined)s::text[])
        ORDER BY id
        LIMIT %(limit)s::int - (SELECT count(*) FROM again)),
     highest AS (
       SELECT coalesce(max(sequence_id), 0) AS sequence_id
         FROM dict_rate_limit_outbox),
     taken AS (
       SELECT id, sequence_id, true AS sent_before
         FROM again
        UNION ALL
       SELECT fresh.id, highest.sequence_id + row_number() OVER (ORDER BY fresh.id), false
         FROM fresh
        CROSS JOIN highest),
     assigned AS (
       UPDATE dict_rate_limit_outbox AS o
          SET sequence_id = t.sequence_id,
              producer = %(producer)s::text
         FROM taken AS t
        WHERE o.id = t.id AND NOT t.sent_before)
SELECT o.id, o.event_id, o.fingerprint, o.type, o.event_time, o.subject, o.traceparent,
       (o.body || jsonb_build_object('sequence', t.sequence_id))::text AS body,
       t.sequence_id, t.sent_before, o.attempts
  FROM taken AS t
  JOIN dict_rate_limit_outbox AS o USING (id)
 ORDER BY t.sequence_id;

-- mark_unsent --
-- These rows get other sequence ids when they are taken again. Until then they keep theirs: nobody else may be given
-- them, because the broker may still come to hold what it was slow to acknowledge.
UPDATE dict_rate_limit_outbox
   SET producer = NULL
 WHERE id = ANY (%(ids)s::bigint[]) AND state = 'pending';

-- mark_refused --
-- The broker refused these rows: they get other sequence ids (as above), or are not sent again.
UPDATE dict_rate_limit_outbox AS o
   SET state = CASE WHEN r.dead THEN 'dead' ELSE 'pending' END,
       producer = CASE WHEN r.dead THEN o.producer END,
       attempts = attempts + 1,
       last_error = r.error
  FROM unnest(%(ids)s::bigint[], %(errors)s::text[], %(dead)s::boolean[]) AS r (id, error, dead)
 WHERE o.id = r.id AND o.state = 'pending';

-- mark_published --
-- The broker has these rows.
UPDATE dict_rate_limit_outbox
   SET state = 'published',
       published_at = now()
 WHERE id = ANY (%(ids)s::bigint[]) AND state = 'pending';

-- prune --
-- Deletes rows long published; the one with the highest sequence id stays, so that ids never begin again.
SELECT dict_rate_limit_prune_outbox(%(older_than_seconds)s::float8, %(limit)s::int);

-- highest_sequence_id --
-- The last sequence id that was given to a row; 0: none.
SELECT coalesce(max(sequence_id), 0) FROM dict_rate_limit_outbox;

-- installation_id --
-- This database's identity: another where it was restored or cloned, since then its row, oid, timeline or server is another.
SELECT md5(concat_ws('/', i.id, i.xmin, d.oid, k.timeline_id, s.system_identifier))::uuid
  FROM dict_rate_limit_installation AS i, pg_database AS d, pg_control_checkpoint() AS k, pg_control_system() AS s
 WHERE d.datname = current_database();

-- change_installation_id --
-- From now on this database is another one.
UPDATE dict_rate_limit_installation SET id = gen_random_uuid();

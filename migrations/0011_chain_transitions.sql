-- The audit proves itself: what an alert did is never changed or taken out, and where somebody who can switch triggers
-- off did so, it shows. Each transition carries the hash of the one before it; `dict-rate-limit audit verify` follows them.
-- A pending alert whose condition ends leaves no trace, so pending is no link of the chain; when it began is in the next.
ALTER TABLE public.dict_rate_limit_alert_transitions
    ADD COLUMN number        bigint UNIQUE,
    ADD COLUMN previous_hash bytea,
    ADD COLUMN hash          bytea;

COMMENT ON COLUMN public.dict_rate_limit_alert_transitions.number IS 'From 1, without a gap, in the order in which they were recorded; null: pending';
COMMENT ON COLUMN public.dict_rate_limit_alert_transitions.hash IS 'SHA-256 of the row, previous_hash included';

CREATE TABLE public.dict_rate_limit_audit_head (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    number bigint  NOT NULL,
    hash   bytea   NOT NULL
);

COMMENT ON TABLE public.dict_rate_limit_audit_head IS 'The last link of the chain of transitions';

INSERT INTO public.dict_rate_limit_audit_head (number, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

-- One line per column, an empty one for null; times in microseconds since 1970, the value as its eight bytes.
CREATE FUNCTION public.dict_rate_limit_transition_hash(t public.dict_rate_limit_alert_transitions) RETURNS bytea
    LANGUAGE sql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT sha256(convert_to(array_to_string(ARRAY[
           encode(t.previous_hash, 'hex'),
           t.number::text,
           t.fingerprint,
           (extract(epoch FROM t.active_since) * 1000000)::bigint::text,
           t.state,
           (extract(epoch FROM t.changed_at) * 1000000)::bigint::text,
           t.reason,
           encode(float8send(t.value), 'hex'),
           t.psp_category,
           (extract(epoch FROM t.observed_at) * 1000000)::bigint::text,
           t.available_tokens::text,
           t.capacity::text], E'\n', ''), 'UTF8'))
$$;

CREATE FUNCTION public.dict_rate_limit_chain_transition() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.state = 'pending' THEN
        NEW.number := NULL;
        NEW.previous_hash := NULL;
        NEW.hash := NULL;
        RETURN NEW;
    END IF;
    -- What is there already is no other link.
    PERFORM FROM public.dict_rate_limit_alert_transitions AS t
      WHERE t.fingerprint = NEW.fingerprint AND t.active_since = NEW.active_since AND t.state = NEW.state;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE public.dict_rate_limit_audit_head AS head
       SET number = head.number + 1
    RETURNING head.number, head.hash INTO NEW.number, NEW.previous_hash;
    NEW.hash := public.dict_rate_limit_transition_hash(NEW);
    UPDATE public.dict_rate_limit_audit_head SET hash = NEW.hash;
    RETURN NEW;
END
$$;

-- What was recorded before.
DO $$
DECLARE
    t public.dict_rate_limit_alert_transitions;
BEGIN
    FOR t IN
        SELECT * FROM public.dict_rate_limit_alert_transitions WHERE state <> 'pending' ORDER BY changed_at, fingerprint, state
    LOOP
        UPDATE public.dict_rate_limit_audit_head AS head
           SET number = head.number + 1
        RETURNING head.number, head.hash INTO t.number, t.previous_hash;
        t.hash := public.dict_rate_limit_transition_hash(t);
        UPDATE public.dict_rate_limit_audit_head SET hash = t.hash;
        UPDATE public.dict_rate_limit_alert_transitions AS u
           SET number = t.number, previous_hash = t.previous_hash, hash = t.hash
         WHERE u.fingerprint = t.fingerprint AND u.active_since = t.active_since AND u.state = t.state;
    END LOOP;
END
$$;

ALTER TABLE public.dict_rate_limit_alert_transitions
    ADD CONSTRAINT chained CHECK (num_nonnulls(number, previous_hash, hash) = CASE state WHEN 'pending' THEN 0 ELSE 3 END);

CREATE TRIGGER dict_rate_limit_transitions_are_chained
    BEFORE INSERT ON public.dict_rate_limit_alert_transitions
    FOR EACH ROW
    EXECUTE FUNCTION public.dict_rate_limit_chain_transition();

CREATE FUNCTION public.dict_rate_limit_refuse() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER dict_rate_limit_transitions_are_not_changed
    BEFORE UPDATE ON public.dict_rate_limit_alert_transitions
    FOR EACH ROW
    EXECUTE FUNCTION public.dict_rate_limit_refuse('a transition is never changed');

CREATE TRIGGER dict_rate_limit_transitions_are_kept
    BEFORE DELETE ON public.dict_rate_limit_alert_transitions
    FOR EACH ROW
    WHEN (OLD.state <> 'pending')
    EXECUTE FUNCTION public.dict_rate_limit_refuse('a transition is kept for good');

CREATE TRIGGER dict_rate_limit_transitions_are_not_truncated
    BEFORE TRUNCATE ON public.dict_rate_limit_alert_transitions
    EXECUTE FUNCTION public.dict_rate_limit_refuse('transitions are kept for good');

CREATE TRIGGER dict_rate_limit_alerts_are_not_truncated
    BEFORE TRUNCATE ON public.dict_rate_limit_alerts
    EXECUTE FUNCTION public.dict_rate_limit_refuse('alerts are kept for good');

CREATE TRIGGER dict_rate_limit_alerts_are_not_changed
    BEFORE UPDATE ON public.dict_rate_limit_alerts
    FOR EACH ROW
    WHEN (OLD.state = 'resolved'
          OR (OLD.state = 'firing' AND NEW.state = 'pending')
          OR (OLD.firing_since IS NOT NULL AND OLD.firing_since IS DISTINCT FROM NEW.firing_since)
          OR (OLD.fingerprint, OLD.active_since, OLD.alertname, OLD.participant, OLD.labels)
             IS DISTINCT FROM (NEW.fingerprint, NEW.active_since, NEW.alertname, NEW.participant, NEW.labels))
    EXECUTE FUNCTION public.dict_rate_limit_refuse('what an alert is, when it began to fire, and what has ended stay as they are');

CREATE TRIGGER dict_rate_limit_audit_head_is_kept
    BEFORE UPDATE OR DELETE ON public.dict_rate_limit_audit_head
    FOR EACH ROW
    WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION public.dict_rate_limit_refuse('transitions move it');

CREATE TRIGGER dict_rate_limit_audit_head_is_not_truncated
    BEFORE TRUNCATE ON public.dict_rate_limit_audit_head
    EXECUTE FUNCTION public.dict_rate_limit_refuse('transitions move it');

-- An event that waits is not thrown away.
CREATE TRIGGER dict_rate_limit_events_are_kept
    BEFORE DELETE ON public.dict_rate_limit_outbox
    FOR EACH ROW
    WHEN (OLD.state = 'pending')
    EXECUTE FUNCTION public.dict_rate_limit_refuse('the event has not been sent');

CREATE TRIGGER dict_rate_limit_events_are_not_truncated
    BEFORE TRUNCATE ON public.dict_rate_limit_outbox
    EXECUTE FUNCTION public.dict_rate_limit_refuse('it may hold events that have not been sent');

-- Deletes events published longer ago than that, at most so many, and returns how many.
-- The one with the highest sequence id stays, so that ids never begin again.
CREATE FUNCTION public.dict_rate_limit_prune_outbox(older_than_seconds double precision, most integer) RETURNS integer
    LANGUAGE sql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
WITH gone AS (
       DELETE FROM public.dict_rate_limit_outbox
        WHERE id IN (
              SELECT id
                FROM public.dict_rate_limit_outbox
               WHERE state = 'published'
                 AND published_at < now() - make_interval(secs => older_than_seconds)
                 AND sequence_id IS DISTINCT FROM (SELECT max(sequence_id) FROM public.dict_rate_limit_outbox)
               ORDER BY published_at
               LIMIT most)
    RETURNING 1)
SELECT count(*)::integer FROM gone
$$;

REVOKE ALL ON FUNCTION public.dict_rate_limit_prune_outbox(double precision, integer) FROM PUBLIC;

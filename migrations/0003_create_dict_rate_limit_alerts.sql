-- One row per alert instance, kept for good, except pending ones whose condition ended before they fired.
CREATE TABLE public.dict_rate_limit_alerts (
    id                bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fingerprint       text             NOT NULL CHECK (fingerprint <> ''),
    rule_group        text             NOT NULL,
    alertname         text             NOT NULL CHECK (alertname <> ''),
    severity          text             NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    participant       text             NOT NULL CHECK (participant ~ '^[0-9]{8}$'),
    policy            text             CHECK (policy <> ''),
    labels            jsonb            NOT NULL CHECK (jsonb_typeof(labels) = 'object'),
    annotations       jsonb            NOT NULL CHECK (jsonb_typeof(annotations) = 'object'),
    value             double precision NOT NULL,
    state             text             NOT NULL,
    active_since      timestamptz      NOT NULL,
    firing_since      timestamptz,
    keep_firing_since timestamptz,
    resolved_at       timestamptz,
    reason            text             CHECK (reason IN ('recovered', 'policy_gone', 'no_data', 'rule_removed', 'participant_removed')),
    UNIQUE (fingerprint, active_since),
    CONSTRAINT state_and_times_agree CHECK (CASE state
        WHEN 'pending'  THEN num_nonnulls(firing_since, keep_firing_since, resolved_at, reason) = 0
        WHEN 'firing'   THEN firing_since IS NOT NULL AND num_nonnulls(resolved_at, reason) = 0
        WHEN 'resolved' THEN num_nulls(firing_since, resolved_at, reason) = 0
        ELSE false
    END),
    CONSTRAINT times_in_order CHECK (active_since <= firing_since AND firing_since <= resolved_at)
) WITH (fillfactor = 80);

COMMENT ON TABLE public.dict_rate_limit_alerts IS 'Alert instances, open and resolved';
COMMENT ON COLUMN public.dict_rate_limit_alerts.active_since IS 'Poll (UTC) at which the condition became true: pending since';
COMMENT ON COLUMN public.dict_rate_limit_alerts.keep_firing_since IS 'Poll (UTC) at which the condition ended while keep_firing_for holds the alert';

-- The audit: when an alert entered each of its states, and what its bucket was then.
CREATE TABLE public.dict_rate_limit_alert_transitions (
    fingerprint      text             NOT NULL,
    active_since     timestamptz      NOT NULL,
    state            text             NOT NULL CHECK (state IN ('pending', 'firing', 'resolved')),
    changed_at       timestamptz      NOT NULL,
    reason           text,
    value            double precision NOT NULL,
    psp_category     text,
    observed_at      timestamptz,
    available_tokens bigint,
    capacity         bigint,
    PRIMARY KEY (fingerprint, active_since, state),
    FOREIGN KEY (fingerprint, active_since)
        REFERENCES public.dict_rate_limit_alerts (fingerprint, active_since) ON DELETE CASCADE
);

COMMENT ON TABLE public.dict_rate_limit_alert_transitions IS 'When each alert entered each of its states';

-- An alert that fired is kept for good, whoever asks.
CREATE FUNCTION public.dict_rate_limit_refuse_alert_deletion() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'alert % fired at %, and is kept for good', OLD.fingerprint, OLD.firing_since
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER dict_rate_limit_alerts_are_kept
    BEFORE DELETE ON public.dict_rate_limit_alerts
    FOR EACH ROW
    WHEN (OLD.state <> 'pending')
    EXECUTE FUNCTION public.dict_rate_limit_refuse_alert_deletion();

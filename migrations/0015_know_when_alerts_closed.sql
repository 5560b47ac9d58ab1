-- When a resolution was committed. An alert ends at its poll's time, which may be hours before: polls wait while the
-- database is away. What Alertmanager is told for a quarter of an hour counts from here.
ALTER TABLE public.dict_rate_limit_alerts ADD COLUMN closed_at timestamptz;

COMMENT ON COLUMN public.dict_rate_limit_alerts.closed_at IS 'When the resolution was committed, by the database''s clock; null: open, or resolved before this was kept';

-- Serves the alerts that have just resolved, among all that ever did.
CREATE INDEX dict_rate_limit_alerts_closed ON public.dict_rate_limit_alerts (closed_at) WHERE closed_at IS NOT NULL;

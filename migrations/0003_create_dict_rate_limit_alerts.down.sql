DROP TABLE dict_rate_limit_alert_transitions;
DROP TABLE dict_rate_limit_alerts;
DROP FUNCTION dict_rate_limit_refuse_alert_deletion();

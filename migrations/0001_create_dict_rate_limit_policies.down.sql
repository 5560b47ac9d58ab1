DROP TABLE dict_rate_limit_policies;

DROP TABLE dict_rate_limit_installation;
DROP TABLE dict_rate_limit_lease;

DROP TABLE dict_rate_limit_commits;
ALTER TABLE dict_rate_limit_lease DROP COLUMN renewals;

"""What is wrong in rule files though they load: `rules check`."""

"""Rule unit tests in promtool's format: the files, and series played through rules."""

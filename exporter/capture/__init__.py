"""A past incident as a rule unit test in promtool's format."""

"""An incident of the past as a rule unit test in promtool's format."""

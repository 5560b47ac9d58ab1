"""PromQL: expressions parsed, compiled, and evaluated for one participant at one instant."""

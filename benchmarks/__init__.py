"""Benchmarks: each a module with ``run() -> list[Figure]``; ratios within one run, not bare seconds."""

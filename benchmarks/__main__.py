"""Runs every benchmark, or those named: ``python -m benchmarks [exposition ...]``. Exit code 1: an aim was missed."""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import iter_modules

import benchmarks

NO_BENCHMARKS = {"__main__", "figure", "processes", "recording"}


def main(names: list[str]) -> int:
    known = sorted(module.name for module in iter_modules(benchmarks.__path__) if module.name not in NO_BENCHMARKS)
    unknown = set(names) - set(known)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    missed = False
    for name in names or known:
        print(f"== {name}", flush=True)
        for figure in import_module(f"benchmarks.{name}").run():
            print(figure, flush=True)
            missed = missed or figure.met is False
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Runs every benchmark, or those named: ``python -m benchmarks [exposition ...]``. Exit code 1: an aim was missed.

``--seed N``, again and again if wanted, is for those whose load is random: `detection`.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from inspect import signature
from pkgutil import iter_modules

import benchmarks

NO_BENCHMARKS = {"__main__", "figure", "processes", "recording", "seen"}


def main(arguments: list[str]) -> int:
    known = sorted(module.name for module in iter_modules(benchmarks.__path__) if module.name not in NO_BENCHMARKS)
    parser = argparse.ArgumentParser("python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--seed", type=int, action="append", default=[], help="of detection")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(known)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    missed = False
    for name in options.names or known:
        print(f"== {name}", flush=True)
        run = import_module(f"benchmarks.{name}").run
        for figure in run(*options.seed) if signature(run).parameters else run():
            print(figure, flush=True)
            missed = missed or figure.met is False
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

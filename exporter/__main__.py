"""The command ``dict-rate-limit``, and ``python -m exporter``."""

from __future__ import annotations

import signal


def main() -> None:
    """Runs the command line.

    Ctrl-C ends the process at once until a command handles it: in the middle of an import, Python would print a
    traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from exporter.cli.main import main as run

    run()


if __name__ == "__main__":
    main()

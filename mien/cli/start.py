"""Start the command `mien`: importing it takes a moment, in which Ctrl-C must not print a traceback."""

from __future__ import annotations

import signal


def main() -> None:
    """Import and run the command line; until it catches signals itself, an interrupt ends the process silently."""
    caught = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if caught:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mien.cli.main import main as run
    from mien.cli.process import end_after_success

    try:
        run()
    except SystemExit as stop:
        if not stop.code:
            end_after_success()
        raise


if __name__ == "__main__":
    main()

"""The entry point of the command `steelyard` and of `python -m steelyard`."""

import gc
import signal
import sys

INTERRUPTED = 130
"""The status that a shell reports for a command that Ctrl-C ended."""
COLLECTED = 100_000
"""The new objects after which cycles among them are searched for: a file may have as many weights, of several objects each."""


def start() -> int:
    """Run the command. While modules are imported, and when it has ended, Ctrl-C ends the process without a traceback."""
    interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from steelyard.cli import main

    try:
        signal.signal(signal.SIGINT, interrupt)
        gc.set_threshold(COLLECTED)
        return main()
    except KeyboardInterrupt:  # before the command catches it
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(start())

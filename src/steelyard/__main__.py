"""The entry point of the command `steelyard` and of `python -m steelyard`."""

import gc
import signal
import sys

COLLECTED = 100_000
"""The new objects after which cycles among them are searched for: a file may have as many weights, of several objects each."""


def start() -> int:
    """Run the command. Until its modules are imported, Ctrl-C ends the process as any other signal does, without a traceback."""
    interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from steelyard.cli import main

    signal.signal(signal.SIGINT, interrupt)
    gc.set_threshold(COLLECTED)
    return main()


if __name__ == "__main__":
    sys.exit(start())

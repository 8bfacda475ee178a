"""The entry point of the command `steelyard` and of `python -m steelyard`."""

import signal
import sys


def start() -> int:
    """Run the command. Until its modules are imported, Ctrl-C ends the process as any other signal does, without a traceback."""
    interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from steelyard.cli import main

    signal.signal(signal.SIGINT, interrupt)
    return main()


if __name__ == "__main__":
    sys.exit(start())

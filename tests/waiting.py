"""Waiting for a sign of life of another process, in place of a time that is too short on one machine and wasted on another."""

import threading
import time
from pathlib import Path

SECONDS = 60
STEP = 0.001  # seconds between two looks


def until(condition, seconds=SECONDS):
    """Wait until a condition holds, and return what it gave; fail where it does not in time."""
    deadline, never = time.monotonic() + seconds, threading.Event()
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} seconds in vain"
        never.wait(STEP)
    return found


def has_read(process, size):
    """Return whether a process, which must be running, has read this many bytes; starting Python takes about 20 MiB."""
    assert process.poll() is None, "it has ended"
    counts = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
    return int(counts["rchar"]) >= size

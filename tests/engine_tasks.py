"""Tasks for the tests of engines, which other processes import."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def square(number):
    if number == 7:
        raise ValueError("seven\n\x1b[31m")
    return number * number


def fatal(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fatal_once(task):
    """End the process the first time; `marks` is a folder that remembers."""
    number, marks = task
    mark = Path(marks, "killed")
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def threads_inside(_):
    from threading import get_ident

    from steelyard.core.threads import in_turn

    return len({get_ident(), *in_turn([()] * 20, get_ident, lambda: True)})


def process(_):
    return os.getpid()

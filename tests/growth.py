"""Which lines of the package run far more often than their input grew: what is quadratic shows in small inputs, without a clock."""

import sys
import threading
from collections import Counter
from pathlib import Path

import steelyard

HOME = str(Path(steelyard.__file__).parent)


def lines_run(work):
    """Return how often each line of the package runs in a call, also in the threads that it starts."""
    counts = Counter()

    def line(frame, event, _):
        if event == "line":
            counts[f"{frame.f_code.co_filename[len(HOME) + 1 :]}:{frame.f_lineno}"] += 1
        return line

    def called(frame, event, _):
        return line if frame.f_code.co_filename.startswith(HOME) else None

    before = sys.gettrace()
    threading.settrace(called)
    sys.settrace(called)
    try:
        work()
    finally:
        sys.settrace(before)
        threading.settrace(before)
    return counts


def quadratic_lines(work, small, large, times, weights):
    """Return the lines that `work(large)` runs far more often than in proportion to `work(small)`, whose input is `times` smaller.

    The small input has as many `weights`. Lines that only large inputs reach, such as those that measure weights in batches, may
    run a few times for each.
    """
    few, many = (lines_run(lambda given=given: work(given)) for given in (small, large))
    return {line: (few[line], count) for line, count in many.items() if count > 1.9 * times * max(few[line], 4 * weights)}

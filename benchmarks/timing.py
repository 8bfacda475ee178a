"""Timing for the benchmarks: methods interleaved in one process, the best of seven, ratios to one of them.

A shared machine makes single times worthless; a ratio inside one run holds. Each figure is printed beside the
figure asked for, also when it falls short.
"""

import os
import subprocess
import sys
import time

ROUNDS = 7
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling the modules is not what a user waits for


def best(methods, rounds=ROUNDS):
    """Return the least seconds of each method, which are called in turn, forwards and backwards."""
    least = dict.fromkeys(methods, float("inf"))
    for turn in range(rounds):
        for name in list(methods)[:: -1 if turn % 2 else 1]:
            prepared = methods[name]()
            start = time.perf_counter()
            prepared()
            least[name] = min(least[name], time.perf_counter() - start)
    return least


def ready(function):
    """A method that needs no preparation."""
    return lambda: function


def process(*arguments, python=sys.executable):
    """A method that runs Python, or another one, with these arguments."""
    return ready(lambda: subprocess.run([python, *arguments], check=True, stdout=subprocess.DEVNULL))


def peak_memory(*arguments):
    """Return the largest resident size of a Python process, in MiB."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    run = subprocess.run([sys.executable, "-c", code, sys.executable, *arguments], check=True, capture_output=True, text=True)
    return int(run.stdout) / 1024


def report(what, measured, target, unit="", *, least=True):
    """Print one figure beside its target; `least` is true if the target is a minimum, false if it is a maximum."""
    good = measured >= target if least else measured <= target
    sign = ">=" if least else "<="
    print(f"{'ok  ' if good else 'MISS'}  {what:<78} {measured:8.2f} {unit:<4} (asked: {sign} {target} {unit})".rstrip())
    return good

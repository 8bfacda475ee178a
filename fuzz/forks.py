"""Forks of this process that read files with limits, each in milliseconds, and a tally of how that ended."""

import gc
import json
import os
import resource
import select
import signal
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

MEMORY = 500  # MB of a process at its peak
IDLE = 100  # MB of a process that has read nothing
SECONDS = 10  # of CPU time for a file
WAITED = 300  # seconds of the clock
ADDRESSES = 4 << 30  # bytes of address space in addition, which protect this machine
SHOWN = 1_000
"""Mutants between two lines on how far it is."""


class Seen(NamedTuple):
    """How a reading ended: `how`, `wrong` with the faults, its seconds of CPU and its peak in MB."""

    how: str
    wrong: list
    seconds: float = 0.0
    peak: float = 0.0


def look(paths, read):
    """Yield for each file what was `Seen` of it, in forks with limits; one that dies leaves the rest to another."""
    while paths:
        lines, ended = _from_child(paths, read)
        seen = [Seen(*json.loads(line)) for line in lines]
        yield from seen
        paths = paths[len(seen) :]
        if ended and paths:
            yield Seen("ended", [ended])
            paths = paths[1:]


def _from_child(paths, read):
    """Return the lines that a fork wrote, one for each file that it came through, and how it ended if not well."""
    gets, tells = os.pipe()
    gc.freeze()  # the child shares the memory of what it does not touch
    child = os.fork()
    if not child:
        _read_in_child(tells, paths, read)
    gc.unfreeze()
    os.close(tells)
    parts, hangs = [b""], False
    while not hangs and (not parts[1:] or parts[-1]):
        hangs = not select.select([gets], [], [], WAITED)[0]
        parts.append(b"" if hangs else os.read(gets, 1 << 16))
    os.close(gets)
    if hangs:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    ended = f"ended by {os.waitstatus_to_exitcode(status)}" if status else ""
    return b"".join(parts).splitlines(), "hangs" if hangs else ended


def _read_in_child(tells, paths, read):
    """Read files and write a line on each, until one has taken too much memory; never returns."""
    taken, resident = (int(pages) * resource.getpagesize() for pages in Path("/proc/self/statm").read_text().split()[:2])
    most = MEMORY + max(resident / 1e6 - IDLE, 0)  # what the process had before, such as a test's frameworks, is not counted
    resource.setrlimit(resource.RLIMIT_AS, (taken + ADDRESSES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    for path in paths:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        begun = time.process_time()
        how, wrong = _ended(read, path)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        if peak > most:
            wrong.append(f"takes {peak:.0f} MB")
        os.write(tells, json.dumps([how, wrong, time.process_time() - begun, peak]).encode() + b"\n")
        if peak > most:
            break
    os._exit(0)


def _ended(read, path):
    try:
        return read(path)
    except BaseException as error:  # noqa: BLE001 - that none comes out is what is tested
        last = traceback.extract_tb(error.__traceback__)[-1]
        return "ended", [f"traceback: {type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {str(error)[:200]}"]


class Tally:
    """What was seen of all mutants so far: it prints the first faults of each kind, and now and then how far it is."""

    def __init__(self):
        self.begun, self.count, self.most, self.slowest = time.monotonic(), 0, 0.0, 0.0
        self.ended, self.kinds = Counter(), Counter()

    def adds(self, name, seen):
        """Count a mutant, and return whether it is worth keeping."""
        self.count += 1
        self.ended[seen.how] += 1
        self.most, self.slowest = max(self.most, seen.peak), max(self.slowest, seen.seconds)
        self.kinds.update(fault[:60] for fault in seen.wrong)
        new = [fault for fault in seen.wrong if self.kinds[fault[:60]] <= 3]
        for fault in new:
            print(f"{self.count} {name}: {fault}", flush=True)
        if not self.count % SHOWN:
            each = (time.monotonic() - self.begun) / self.count * 1000
            print(f"{each:.1f} ms each: {json.dumps(self.total())}", flush=True)
        return bool(new)

    def total(self):
        """Return the figures."""
        faults = sum(self.kinds.values())
        return {"mutants": self.count, **self.ended, "faults": faults, "MB": round(self.most), "s": round(self.slowest, 2)}

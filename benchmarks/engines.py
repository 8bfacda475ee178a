"""Statistics and digests of a file of 1 GB by one and by two workers of each engine: python benchmarks/engines.py [ENGINE...]

The file is in memory, so that the kernels are the bound. Engines are started before the clock. Each line has the wall time of the
best of three turns, the ratio of one worker to two, the CPU seconds that all workers spent for a gigabyte, the peak memory of a
worker with all that it imports, and whether the results are those of the serial call, to the last bit.
"""

import json
import os
import re
import resource
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

import steelyard
from steelyard.engines import engine_of

GIGABYTES = 1.0
TURNS = 3


def spent(_):
    """Return the process, its CPU seconds, and its peak memory in MiB."""
    used = resource.getrusage(resource.RUSAGE_SELF)  # its ru_maxrss begins with that of the process that started this one
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]
    return os.getpid(), used.ru_utime + used.ru_stime, int(peak) / 1024


def workers_of(engine):
    """Return the CPU seconds and the peak memory of each process that answers."""
    found = [found for _, found in engine.map_unordered(spent, range(8 * engine.workers))]
    return {pid: (seconds, peak) for pid, seconds, peak in found}


def fingerprint(path, engine=None):
    found = steelyard.stats(path, engine=engine).to_dict(), steelyard.digest(path, "blake3", engine=engine).to_dict()
    return json.dumps(found)


def measured(word, count, path, expected):
    """Return the best wall time, the CPU seconds of all workers for a turn, the memory of one, and whether the bits agree."""
    with engine_of(word, count) as engine:
        equal = fingerprint(path, engine) == expected  # the first turn also imports what the workers need
        before, walls = workers_of(engine), []
        for _ in range(TURNS):
            begun = perf_counter()
            fingerprint(path, engine)
            walls.append(perf_counter() - begun)
        after = workers_of(engine)
    cpu = sum(after[pid][0] - before[pid][0] for pid in after if pid in before) / TURNS
    return min(walls), cpu, max(peak for _, peak in after.values()), equal


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "net.safetensors"))
        random, rows = np.random.default_rng(0), int(GIGABYTES * 1e9 / 4 / 8 / 4096)
        steelyard.save({f"layer{nth}": random.standard_normal((rows, 4096), "f4") for nth in range(8)}, path)
        begun = perf_counter()
        expected = fingerprint(path)
        print(f"serial call: {perf_counter() - begun:.2f} s; load {os.getloadavg()[0]:.1f}")
        print(f"{'engine':8} {'1 worker':>9} {'2 workers':>9} {'ratio':>6} {'CPU s/GB':>9} {'MiB':>6}  bits")
        for word in sys.argv[1:] or ("threads", "dask", "ray", "joblib"):
            one, two = measured(word, 1, path, expected), measured(word, 2, path, expected)
            cpu, memory, equal = two[1] / GIGABYTES, max(one[2], two[2]), one[3] and two[3]
            walls = f"{one[0]:9.2f} {two[0]:9.2f} {one[0] / two[0]:6.2f}"
            bits = "equal" if equal else "DIFFER"
            print(f"{word:8} {walls} {cpu:9.2f} {memory:6.0f}  {bits}  (load {os.getloadavg()[0]:.1f})", flush=True)


if __name__ == "__main__":
    main()

"""Exports of large nets: CPU seconds and peak memory of a process of its own, beside the figures asked for.

python benchmarks/device.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from timing import report

MEASURED = """
import resource, steelyard, sys
steelyard.export(sys.argv[1], sys.argv[2], text=sys.argv[3] or None)
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""
MADE = """
import numpy, steelyard, sys
numbers = numpy.random.default_rng(0).standard_normal((int(sys.argv[1]) // 1000, 1000), "f4") / 20
steelyard.save({"fc.weight": numbers}, sys.argv[2])
"""
CASES = (
    (10**6, "net.h", "decimal", 3, 100),
    (10**6, "net.h", "bits", 3, 100),
    (10**6, "net.h", "hex", 3, 100),
    (10**6, "net.rs", "decimal", 3, 100),
    (10**6, "net.py", "bytes", 3, 100),
    (10**6, "net.csv", "decimal", 3, 100),
    (10**6, "net.json", "decimal", 3, 100),
    (10**8, "net.c", "", 3, 100),
    (10**8, "net.bin", "", 3, 100),
)
"""Numbers, file, form, and the seconds and megabytes asked for."""


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count, file, form, seconds, megabytes in CASES:
            source = folder / f"{count}.npz"
            if not source.exists():
                # in a process of its own: Linux counts the memory of this one to those that it starts
                subprocess.run([sys.executable, "-c", MADE, str(count), str(source)], check=True)
            command = [sys.executable, "-c", MEASURED, str(source), str(folder / file), form]
            cpu, memory = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
            report(f"{count:,} float32 into {file}{f' as {form}' * bool(form)}, CPU", cpu, seconds, "s", least=False)
            report(f"{count:,} float32 into {file}{f' as {form}' * bool(form)}, resident", memory, megabytes, "MiB", least=False)


if __name__ == "__main__":
    main()

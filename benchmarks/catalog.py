"""Measure the catalogue of many small checkpoints: time, rows per second, memory, and size.

Run it as `python benchmarks/catalog.py 10000`: so many checkpoints, as of a grid search over small nets, are made in a folder,
are catalogued by two threads in a process of its own, and again without a change; then each ready question is asked.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

import steelyard

STEPS = 10
"""Checkpoints of each run."""


def make(folder: str, count: int) -> None:
    """Write checkpoints of a net with 6 weights and 9,610 numbers; each run goes on from its last step."""
    random = np.random.default_rng(0)
    net: dict[str, np.ndarray] = {}
    for nth in range(count):
        if nth % STEPS == 0:
            shapes = {"fc1": (64, 64), "fc2": (64, 64), "out": (10, 64)}
            net = {f"{layer}.weight": random.normal(0, 0.1, shape).astype("f4") for layer, shape in shapes.items()}
            net |= {f"{layer}.bias": np.zeros(shape[0], "f4") for layer, shape in shapes.items()}
        else:
            net = {name: array + random.normal(0, 0.01, array.shape).astype("f4") for name, array in net.items()}
        steelyard.save(net, f"{folder}/{nth // STEPS:05}-{nth % STEPS}.safetensors")


def write(folder: str, out: str) -> None:
    """Catalogue a folder, and print the time and the peak of the memory."""
    begun = time.perf_counter()
    update = steelyard.catalog(folder, out, workers=2).update
    took, peak = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu = time.process_time()
    print(f"{update.read:,} read, {update.kept:,} kept: {took:.1f} s, CPU {cpu:.1f} s, peak {peak:,.0f} MiB", flush=True)


def ask(out: str) -> None:
    """Ask the ready questions, and print the time of each."""
    found = steelyard.catalog(out)
    asked = {
        "rows": lambda: found.query("select * exclude (sketch) from weights limit 1"),
        "duplicates": found.duplicates,
        "formats": found.formats,
        "near": lambda: found.near(estimate=True),
        "families": lambda: found.families(estimate=True),
    }
    for word, question in asked.items():
        begun, cpu = time.perf_counter(), time.process_time()
        count = len(question())
        print(f"{word}: {count:,} rows in {time.perf_counter() - begun:.1f} s, CPU {time.process_time() - cpu:.1f} s", flush=True)
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


def main() -> None:
    """Run all parts, each in a process of its own."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"load average {os.getloadavg()[0]:.1f}, {count:,} files")
    with tempfile.TemporaryDirectory() as folder:
        nets, out = os.path.join(folder, "nets"), os.path.join(folder, "catalog.parquet")
        os.mkdir(nets)
        make(nets, count)
        for part in (f"write({nets!r}, {out!r})", f"write({nets!r}, {out!r})", f"ask({out!r})"):
            subprocess.run([sys.executable, "-c", f"import catalog; catalog.{part}"], cwd=os.path.dirname(__file__), check=True)
        print(f"{os.path.getsize(out) / 1e6:,.0f} MB, {os.path.getsize(out) / count:,.0f} bytes a file")


if __name__ == "__main__":
    main()

"""Edits of four files of 0.5 GB, lazily, from file to file: python benchmarks/editing.py [float32 | bfloat16]

Each edit runs in a process of its own. Its figures are the processor time of that process, with its start, and its largest
resident memory. mergekit runs beside, where it is installed.
"""

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import ml_dtypes
import numpy as np
from timing import report

import steelyard

FILES = ("base", "a", "b", "c")
MEMORY = 100
"""MiB that an edit may take."""
MERGES = {
    "ties": ({"density": 0.2}, 12),
    "ties, whole model": ({"density": 0.2, "scope": "model"}, 20),
    "dare": ({"density": 0.2}, 12),
    "linear": ({}, 4),
    "slerp": ({"t": 0.3}, 6),
}
"""The parameters of each merge, and the seconds that it may take."""
READ = """
buffer = memoryview(bytearray(1 << 20))
def work():
    for path in sys.argv[1:]:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
"""
AVERAGE = """
import steelyard
def work():
    for _ in steelyard.average(sys.argv[1:]).blocks():
        pass
"""
TIMED = """
def spent():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
least = float("inf")
for _ in range(3):
    before = spent()
    work()
    least = min(least, spent() - before)
print(least)
"""
MERGEKIT = """
merge_method: ties
base_model: {base}
models:
  - model: {a}
  - model: {b}
  - model: {c}
parameters: {{weight: 1.0, density: 0.2}}
"""


def make(folder, dtype):
    """Write a net and three that were trained further, each of 127 million numbers."""
    shapes = {f"layers.{n}.{name}": shape for n in range(10) for name, shape in LAYER.items()} | {"embed": (32000, 1024)}
    chance = np.random.default_rng(0)
    base = {name: chance.standard_normal(shape, np.float32) / 20 for name, shape in shapes.items()}
    for file in FILES:
        moved = {name: chance.standard_normal(array.shape, np.float32) / 500 for name, array in base.items()}
        net = {name: (array + (moved[name] if file != "base" else 0)).astype(dtype) for name, array in base.items()}
        steelyard.save(net, folder / f"{file}.safetensors")


LAYER = {"q": (1024, 1024), "up": (4096, 1024), "down": (1024, 4096), "norm": (1024,)}


def measured(command):
    """Run a command; return its seconds of processor time, and its peak memory in MiB above that of an import."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "r = resource.getrusage(resource.RUSAGE_CHILDREN); print(r.ru_utime + r.ru_stime, r.ru_maxrss / 1024)"
    )
    run = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    return map(float, run.stdout.split())


def averages(folder, size, dtype):
    """Compare the processor time of averages with that of reading the files once, from the page cache, without the start."""
    paths = [str(folder / f"{file}.safetensors") for file in FILES]
    exact = AVERAGE.replace("[1:]", "[1:], exact=True")
    codes = [f"import resource, sys\n{code}{TIMED}" for code in (READ, AVERAGE, exact)]
    runs = [subprocess.run([sys.executable, "-c", code, *paths], check=True, capture_output=True, text=True) for code in codes]
    read, mean, exact = (float(run.stdout) for run in runs)
    if dtype == np.float32:
        report("average, of the processor time of reading once", mean / read, 1.7, "x", least=False)
    else:
        report("average", size / mean / 1e9, 2, "GB/s")
    print(f"      reading {size / read / 1e9:.1f} GB/s, average {size / mean / 1e9:.1f}, exact {size / exact / 1e9:.1f}")
    command = [sys.executable, "-m", "steelyard", "average", *paths, "-o", str(folder / "out.safetensors")]
    report("average, peak memory", [*measured(command)][1], MEMORY, "MiB", least=False)


def merged(folder, method, options):
    """The command of a merge."""
    files = [str(folder / f"{file}.safetensors") for file in (FILES[:2] if method == "slerp" else FILES)]
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    return [sys.executable, "-m", "steelyard", "merge", *files, "--method", method, *words, "-o", str(folder / "out.safetensors")]


def main():
    dtype = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}[sys.argv[1] if len(sys.argv) > 1 else "float32"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, dtype)
        size = sum(os.path.getsize(folder / f"{file}.safetensors") for file in FILES)
        print(f"four files, {size / 1e9:.2f} GB of {np.dtype(dtype).name}")
        averages(folder, size, dtype)
        for what, (options, seconds) in MERGES.items():
            spent, peak = measured(merged(folder, what.partition(",")[0], options))
            report(f"{what}, processor time", spent, seconds, "s", least=False)
            report(f"{what}, peak memory", peak, MEMORY, "MiB", least=False)
        if find_spec("mergekit"):
            recipe = folder / "ties.yml"
            recipe.write_text(MERGEKIT.format(**{file: folder / f"{file}.safetensors" for file in FILES}))
            spent, peak = measured(["mergekit-pytorch", str(recipe), str(folder / "out")])
            print(f"      mergekit, ties: {spent:.1f} s, {peak:.0f} MiB")


if __name__ == "__main__":
    main()

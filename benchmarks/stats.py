"""Statistics and digests of a file of 2 GB against reading the same bytes: python benchmarks/stats.py

Reading is `preadv` of the whole file into one buffer of 512 KiB by one thread. Each ratio is of the best of several
turns inside one process; CPU time is that of whole processes. The second yardstick, `np.max` over numbers that are in
memory already, is faster than a file can be read, and is printed without a target.
"""

import os
import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from timing import best, peak_memory, ready, report

import steelyard
from steelyard import sizes
from steelyard.numerics.summary import summarise

BUFFER = 1 << 19
NAIVE = """
import sys, torch
from safetensors import safe_open
with safe_open(sys.argv[1], "pt") as file:
    for name in file.keys():
        t = file.get_tensor(name).double()
        print(name, t.numel(), t.min(), t.max(), t.mean(), t.std(unbiased=False), t.abs().sum(), t.norm())
        print((t == 0).sum(), (t.abs() <= 1e-8).sum(), t.isnan().sum(), t.isinf().sum())
"""
"""What one writes by hand for the same figures, with its sums in float64."""
FLOAT32 = NAIVE.replace(".double()", "")
HISTOGRAM = NAIVE.replace("t.numel(),", "t.numel(), torch.histc(t.float(), 512).sum(),")


def big_file(path, dtype=torch.float32, gigabytes=2.0, blocks=12):
    """Write weights of a GPT's shape, 4 tensors a block."""
    width = int((gigabytes * 1e9 / 4 / blocks / 12) ** 0.5)
    shapes = {"attn.c_attn": (3 * width, width), "attn.c_proj": (width, width), "mlp.c_fc": (4 * width, width)}
    shapes |= {"mlp.c_proj": (width, 4 * width)}
    torch.manual_seed(0)
    save_file(
        {f"h.{i}.{name}.weight": torch.randn(shape).to(dtype) * 0.02 for i in range(blocks) for name, shape in shapes.items()},
        path,
    )


def read_all(path):
    """Read the bytes of a file, and do nothing with them."""
    handle, buffer = os.open(path, os.O_RDONLY), bytearray(BUFFER)
    for at in range(0, os.path.getsize(path), BUFFER):
        os.preadv(handle, [buffer], at)
    os.close(handle)


def on_threads(count, function):
    """A method that runs with so many threads."""

    def prepared():
        sizes.THREADS = count
        return function

    return prepared


def cpu_seconds(*arguments):
    """Return the processor time of a Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def statistics(path, memory):
    weights = steelyard.weights(path)
    live = steelyard.weights({"w": memory})
    plain, wide = (partial(summarise, wide=each) for each in (False, True))
    methods = {
        "read": ready(lambda: read_all(path)),
        "max": ready(lambda: [memory[i : i + 65536].max() for i in range(0, memory.size, 65536)]),
    }
    for threads in (1, 2):
        methods[f"plain {threads}"] = on_threads(threads, lambda: plain(weights.values()))
        methods[f"wide {threads}"] = on_threads(threads, lambda: wide(weights.values()))
        methods[f"live {threads}"] = on_threads(threads, lambda: plain(live.values()))
    spent = best(methods, rounds=5)
    rate = weights.nbytes / spent["read"] / 1e9
    print(f"      reading: {rate:.1f} GB/s; np.max in memory: {memory.nbytes / spent['max'] / 1e9:.1f} GB/s")
    report("stats without histogram, one thread, of the rate of reading", spent["read"] / spent["plain 1"], 0.60, "x")
    report("stats without histogram, two threads", spent["read"] / spent["plain 2"], 0.90, "x")
    report("stats with histogram, two threads", spent["read"] / spent["wide 2"], 0.25, "x")
    for threads in (1, 2):
        print(
            f"      in memory, {threads} threads, of the rate of np.max by one: {spent['max'] / spent[f'live {threads}']:.2f} x"
        )


def digesting(path):
    weights = steelyard.weights(path)
    methods = {"read": ready(lambda: read_all(path))}
    for algorithm in ("xxh3", "blake3"):
        for threads in (1, 2):
            methods[f"{algorithm} {threads}"] = on_threads(threads, lambda a=algorithm: steelyard.digest(weights, a))
    spent = best(methods, rounds=5)
    report("digest by xxh3, two threads, of the rate of reading", spent["read"] / spent["xxh3 2"], 0.90, "x")
    print(f"      by one thread: {spent['read'] / spent['xxh3 1']:.2f} x")
    report("digest by blake3, one thread", spent["read"] / spent["blake3 1"], 0.20, "x")
    print(f"      by two: {spent['read'] / spent['blake3 2']:.2f} x")


def whole_processes(path):
    commands = {
        "ours": ("-m", "steelyard", "stats", path, "--fast"),
        "ours with histogram": ("-m", "steelyard", "stats", path),
        "PyTorch in float64": ("-c", NAIVE, path),
        "PyTorch in float32": ("-c", FLOAT32, path),
        "PyTorch with histogram": ("-c", HISTOGRAM, path),
    }
    spent = {name: min(cpu_seconds(*arguments) for _ in range(2)) for name, arguments in commands.items()}
    ours, wide, naive, single, histogram = spent.values()
    print(f"      CPU: {', '.join(f'{name} {seconds:.2f} s' for name, seconds in spent.items())}")
    report("CPU of the plain PyTorch script over ours, both in float64", naive / ours, 8, "x")
    print(f"      of the PyTorch script that adds in float32: {single / ours:.1f} x; with histograms: {histogram / wide:.1f} x")
    report("stats of 2 GB, resident", peak_memory("-m", "steelyard", "stats", path), 100, "MiB", least=False)
    report("health of 2 GB, resident", peak_memory("-m", "steelyard", "check", path, "--health"), 100, "MiB", least=False)


def main():
    room = "/dev/shm" if os.path.isdir("/dev/shm") and os.statvfs("/dev/shm").f_bavail * 4096 > 4e9 else None
    with tempfile.TemporaryDirectory(dir=room) as folder:
        path = str(Path(folder) / "big.safetensors")
        big_file(path)
        statistics(path, np.random.default_rng(0).standard_normal(1 << 27, dtype="f4"))
        digesting(path)
        whole_processes(path)


if __name__ == "__main__":
    main()

"""Two files of 2 GB beside each other: speed against reading both, memory, and a PyTorch script: python benchmarks/diff.py

Reading is one thread that reads both files into a buffer that stays in the cache; a second figure has two such threads.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Thread

from timing import best, peak_memory, ready, report

MEMORY = "/dev/shm" if shutil.disk_usage("/dev/shm").free > 8e9 else None
"""The files are in memory where there is room; otherwise a throttled disk would dominate the measurement."""
BLOCK = 1 << 20
MAKE = """
import sys, numpy as np, steelyard
from steelyard.core.readers import from_array
chance = np.random.default_rng(0)
state = {f"h.{i}.w": chance.standard_normal((2048, 4096), dtype="f4") for i in range(int(sys.argv[2]))}
steelyard.save(state, sys.argv[1] + "/a.safetensors")
for value in state.values():
    value += 1e-3 * chance.standard_normal(value.shape, dtype="f4")
steelyard.save(state, sys.argv[1] + "/b.safetensors")
"""
TORCH = """
import sys, torch
from safetensors.torch import load_file
a, b = (load_file(path) for path in sys.argv[1:])
for name, x in a.items():
    y = b[name]
    d = y - x
    print(name, d.abs().max().item(), d.abs().mean().item(), (d.norm() / x.norm()).item(), (d != 0).float().mean().item(),
          torch.nn.functional.cosine_similarity(x.flatten(), y.flatten(), dim=0).item(), torch.equal(x, y))
"""
FIGURES = "import sys, steelyard; steelyard.diff(*sys.argv[1:], verdicts=False)"


def reading(paths, threads):
    """Read files whole, each thread its share of each."""

    def read(nth):
        buffer = memoryview(bytearray(BLOCK))
        for path in paths:
            size = os.path.getsize(path)
            handle = os.open(path, os.O_RDONLY)
            for at in range(nth * size // threads, (nth + 1) * size // threads, BLOCK):
                os.preadv(handle, [buffer], at)
            os.close(handle)

    def run():
        others = [Thread(target=read, args=(nth,)) for nth in range(1, threads)]
        for each in others:
            each.start()
        read(0)
        for each in others:
            each.join()

    return ready(run)


def cpu_seconds(code, *paths):
    """Return the CPU seconds that a process takes, those of its children's threads included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, *map(str, paths)], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    import steelyard
    from steelyard import sizes

    tensors = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        subprocess.run([sys.executable, "-c", MAKE, folder, str(tensors)], check=True)
        a, b, same = (Path(folder) / f"{name}.safetensors" for name in ("a", "b", "same"))
        os.link(a, same)  # another name of the same bytes, which nothing here looks at
        print(f"two files of {a.stat().st_size / 1e9:.1f} GB in {folder}")

        def diff(paths, threads, **options):
            def run():
                sizes.THREADS = threads
                steelyard.diff(*paths, **options)

            return ready(run)

        spent = best(
            {
                "read 1": reading((a, b), 1),
                "read 2": reading((a, b), 2),
                "diff 1": diff((a, b), 1, verdicts=False),
                "diff 2": diff((a, b), 2, verdicts=False),
                "verdicts": diff((a, b), 2),
                "equal 1": diff((a, same), 1),
                "equal 2": diff((a, same), 2),
            }
        )
        report("diff on two threads, of the speed of reading both", spent["read 1"] / spent["diff 2"], 0.8)
        print(f"      the same, of reading both on two threads: {spent['read 2'] / spent['diff 2']:.2f}")
        report("diff on one thread, of reading both", spent["read 1"] / spent["diff 1"], 0.45)
        report("diff with verdicts on two threads, of reading both", spent["read 1"] / spent["verdicts"], 0.5)
        report("equal tensors on two threads, of reading both", spent["read 1"] / spent["equal 2"], 0.9)
        report("equal tensors on one thread, of reading both", spent["read 1"] / spent["equal 1"], 0.9)
        memory = peak_memory("-m", "steelyard", "diff", str(a), str(same))
        report("memory of diff, equal files", memory, 100, "MiB", least=False)
        memory = peak_memory("-c", FIGURES.replace("verdicts=False", ""), str(a), str(b))
        report("memory of diff with verdicts, all numbers different", memory, 100, "MiB", least=False)
        ours, theirs = (min(cpu_seconds(code, a, b) for _ in range(3)) for code in (FIGURES, TORCH))
        print(f"      CPU seconds, whole process: {ours:.2f}, the PyTorch script {theirs:.2f}")
        report("times less CPU than the PyTorch script, whole process", theirs / ours, 5, "x")


if __name__ == "__main__":
    main()

"""R's files: listing and reading 40 MB of doubles, beside R's own readRDS: python benchmarks/r.py

R must be installed. The whole command is timed for the listing; both read in a process that is already running.
"""

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from timing import best, process, ready, report

from steelyard.codecs.r.stream import read_r
from steelyard.storage.source import open_path

MAKE = """
x <- list(hidden = matrix(rnorm(2.5e6), 1000), output = rnorm(2.5e6))
saveRDS(x, "none.rds", compress = FALSE)
saveRDS(x, "gzip.rds")
cat("ready\\n")
lines <- file("stdin", "r")
while (length(name <- readLines(lines, 1))) cat(system.time(readRDS(name))[["elapsed"]], "\\n")
"""

LIST = """
import sys
from steelyard.codecs.r.stream import read_r
from steelyard.storage.source import open_path
print([(name, vector.dim, vector.length) for name, vector in read_r(open_path(sys.argv[1])).pairs()])
"""


class R:
    """A running R that reads a file on request, and reports how long that took by its own clock."""

    def __init__(self, folder):
        script = folder / "make.R"
        script.write_text(MAKE)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(["Rscript", "--vanilla", str(script)], cwd=folder, text=True, bufsize=1, **pipes)
        assert self.process.stdout.readline() == "ready\n"

    def seconds(self, name):
        self.process.stdin.write(f"{name}\n")
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def read(path):
    return sum(vector.read().size for vector in read_r(open_path(path)).items)


def main():
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling the modules is not what a user waits for
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        r = R(folder)
        plain = folder / "none.rds"
        started = {"bare": process("-c", ""), "start": process("-c", "import steelyard")}
        spent = best({**started, "list": process("-c", LIST, str(plain))}, rounds=21)
        report("listing 40 MB of doubles in .rds, over start-up", (spent["list"] - spent["start"]) * 1e3, 20, "ms", least=False)
        report("the same, over bare Python", (spent["list"] - spent["bare"]) * 1e3, 30, "ms", least=False)
        for kind in ("none", "gzip"):
            path, theirs = folder / f"{kind}.rds", []
            assert read(path) == 5_000_000

            def both(path=path, theirs=theirs):
                theirs.append(r.seconds(path.name))
                return lambda: read(path)

            ours = best({"ours": both}, rounds=11)["ours"]
            print(f"      {kind}: ours {ours * 1e3:.0f} ms, readRDS {min(theirs) * 1e3:.0f} ms")
            report(f"reading 40 MB of doubles, {kind}, of the time of readRDS", ours / min(theirs), 2, "x", least=False)
        r.close()
        again(folder)


def again(folder):
    """From row-major to R's order, beside writing the bytes as they are."""
    import steelyard
    from steelyard.formats.r.writing import write_list

    weights = steelyard.weights({"kernel": np.ones((2500, 2000))})
    data = weights["kernel"].numpy().tobytes()

    def copied():
        with (folder / "copy").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    spent = best({"ours": ready(lambda: write_list(weights, folder / "net.rds")), "copy": ready(copied)}, rounds=5)
    report("writing 40 MB by columns, of the time of writing its bytes", spent["ours"] / spent["copy"], 3, "x", least=False)


if __name__ == "__main__":
    main()

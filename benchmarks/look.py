"""Reports and the local server: size, time, memory, and what a browser needs: python benchmarks/look.py

The page is opened in Chromium from the disk; where it lies is given as the first argument (default: /usr/bin/chromium). The
numbers are random and do not compress. A file of 4 GB is sparse: it takes no room, and is as long all the same.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright
from safetensors.numpy import save_file
from stats import big_file
from timing import peak_memory, report

CHROMIUM = sys.argv[1] if len(sys.argv) > 1 else "/usr/bin/chromium"
ROUNDS = 5
MARKS = """() => [
  performance.getEntriesByType("paint").find((each) => each.name === "first-contentful-paint").startTime,
  performance.getEntriesByName("steelyard-ready")[0].startTime,
]"""


def net(path, count, side):
    """Write a net of so many weights: dense layers, their biases, a convolution and a scale in turn."""
    chance = np.random.default_rng(0)
    shapes = [(3 * side, side), (3 * side,), (4 * side, side), (side, 16, 3, 3), (side,)]
    arrays = {f"blocks.{n // 5}.{n % 5}.weight": chance.standard_normal(shapes[n % 5], dtype="f4") for n in range(count)}
    save_file(arrays, path)
    return sum(array.nbytes for array in arrays.values())


def gpt2(path):
    """Write random weights of the shapes of GPT-2: 124 million."""
    chance = np.random.default_rng(0)
    shapes = {"wte.weight": (50257, 768), "wpe.weight": (1024, 768)}
    for n in range(12):
        shapes |= {f"h.{n}.attn.c_attn.weight": (768, 2304), f"h.{n}.attn.c_proj.weight": (768, 768)}
        shapes |= {f"h.{n}.mlp.c_fc.weight": (768, 3072), f"h.{n}.mlp.c_proj.weight": (3072, 768)}
    save_file({name: chance.standard_normal(shape, dtype="f4") for name, shape in shapes.items()}, path)


def written(source, page, *options):
    """Write a report by the command, and return the seconds."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "steelyard", "report", source, "-o", page, *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def seen(page):
    """Return the least milliseconds to the first paint and until the page can be used, of several turns."""
    offline = ("background-networking", "component-update", "sync")
    switches = ["--no-sandbox", "--disable-gpu", "--no-first-run", *(f"--disable-{each}" for each in offline)]
    times = []
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=switches)
        for _ in range(ROUNDS):
            tab = browser.new_page()
            tab.goto(f"file://{page}")
            while not tab.evaluate("performance.getEntriesByName('steelyard-ready').length > 0"):
                time.sleep(0.02)
            times.append(tab.evaluate(MARKS))
            tab.close()
        browser.close()
    return min(paint for paint, _ in times), min(ready for _, ready in times)


def sparse(path, size):
    """Write a file of matrices of zeros, 64 MiB each."""
    begin, header = 0, {}
    while begin < size:
        end = begin + (64 << 20)
        header[f"h.{len(header)}.weight"] = {"dtype": "F32", "shape": [4096, 4096], "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + begin)


def answered(path):
    """Return the seconds from the start of a server to its address, and from there to the index and to a deep picture."""
    begun = time.perf_counter()
    server = subprocess.Popen([sys.executable, "-m", "steelyard", "serve", path], stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().strip()
        marks = [time.perf_counter()]
        for what in ("index", "picture?row=60&side=0&top=2048&left=2048&bottom=2304&right=2304&height=256&width=256"):
            with urllib.request.urlopen(f"{address}api/{what}") as answer:
                answer.read()
            marks.append(time.perf_counter())
    finally:
        server.kill()
        server.communicate()
    return [after - before for before, after in zip([begun, *marks], marks, strict=False)]


def main():
    room = "/dev/shm" if os.path.isdir("/dev/shm") and os.statvfs("/dev/shm").f_bavail * 4096 > 4e9 else None
    with tempfile.TemporaryDirectory(dir=room) as folder:
        file, page = (str(Path(folder) / name) for name in ("net.safetensors", "report.html"))
        for count, side, most in ((500, 128, 2), (10_000, 64, 10)):
            total = net(file, count, side)
            spent = written(file, page)
            print(f"      report of {count:,} weights, {total / 1e6:,.0f} MB: {spent:.1f} s")
            report(f"report of {count:,} weights", os.path.getsize(page) / 1e6, most, "MB", least=False)
            paint, ready = seen(page)
            print(f"      its first paint: {paint:.0f} ms")
            report(f"report of {count:,} weights, until it can be used", ready / 1000, 0.6, "s", least=False)
        gpt2(file)
        report("report of the weights of GPT-2", min(written(file, page) for _ in range(3)), 3, "s", least=False)
        print(f"      without spectra: {written(file, page, '--spectra', 'none'):.1f} s")
        big_file(file)
        report("report of 2 GB", written(file, page), 30, "s", least=False)
        report("report of 2 GB, resident", peak_memory("-m", "steelyard", "report", file, "-o", page), 150, "MiB", least=False)
        sparse(file, 4 << 30)
        start, index, picture = answered(file)
        print(f"      serve of 4 GB: address after {start:.2f} s, a picture of 256 x 256 numbers in {picture:.3f} s")
        report("serve of 4 GB, until the index is answered", start + index, 0.8, "s", least=False)


if __name__ == "__main__":
    main()

"""Looking at a file: Steelyard's inspector beside Netron's, each started for each file, in the same browser.

Run `python benchmarks/netron.py FILE...` with the test extras installed; Netron gets an environment of its own, made in a
temporary folder. Time runs from the start of the program to the first picture of the weights or of the graph. Files of 1,
2 and 4 GB of zeros, which take no room on the disk, tell what is the largest that can be opened. Every request that the
page makes to another address than its own is counted, and stopped: at a first start, where Netron asks about cookies, and
for each file once that is answered.
"""

import contextlib
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

NETRON = "netron==9.3.3"
PATIENCE = 60_000
"""Milliseconds after which a page has failed."""
CHROMIUM = {
    "executable_path": "/usr/bin/chromium",
    "args": ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
}
ELSEWHERE = re.compile(r"^(?!http://127\.0\.0\.1[:/]|data:|blob:|about:)")
SIZES = (1, 2, 4)
"""Gigabytes of the large files."""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def steelyard_page(file):
    """Start the inspector of a file, and give its address."""
    command = [sys.executable, "-m", "steelyard", "serve", str(file), "--port", str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            line = next((line for line in server.stdout if "http://" in line), "")
            yield re.search(r"http://\S+", line)[0] if line else None
        finally:
            server.terminate()


def netron_page(program):
    """Return what starts Netron on a file, and gives its address."""

    @contextlib.contextmanager
    def page(file):
        port = free_port()
        command = [program, str(file), "--host", "127.0.0.1", "--port", str(port)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                until = time.monotonic() + 20
                while server.poll() is None and time.monotonic() < until:
                    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                        break
                    time.sleep(0.02)
                yield f"http://127.0.0.1:{port}/" if server.poll() is None else None
            finally:
                server.terminate()

    return page


READY = {"Steelyard": "main[data-ready] canvas", "Netron": "body.default .node"}
"""When there is a picture."""


def opened(browser, tool, start, file, *, consented=True, look=None):
    """Return the seconds until there is a picture, None where none comes, and the foreign addresses that were asked.

    `look` is called with the page of the picture.
    """
    foreign, begun = [], time.perf_counter()
    with start(file) as address:
        if address is None:
            return None, foreign
        context = browser.new_context()
        if consented:
            context.add_cookies([{"name": "consent", "value": "1", "url": address}])
        context.route(ELSEWHERE, lambda route: route.abort())  # counted, and not let out
        page = context.new_page()
        page.on("request", lambda request: ELSEWHERE.match(request.url) and foreign.append(request.url))
        seconds = None
        with contextlib.suppress(Error):
            page.goto(address)
            if consented:
                page.wait_for_selector(READY[tool], state="attached", timeout=PATIENCE)
                seconds = time.perf_counter() - begun
                if look is not None:
                    look(page)
            else:
                page.wait_for_timeout(3000)
        context.close()
        return seconds, foreign


def large(folder, gigabytes):
    """Write a safetensors file of one large and two small weights of zeros."""
    path, side = Path(folder) / f"{gigabytes}GB.safetensors", 16384
    rows = gigabytes * 10**9 // 4 // side
    header, at = {}, 0
    for name, shape in {"embed.weight": [rows, side], "fc.weight": [4, 8], "fc.bias": [4]}.items():
        length = 4
        for side_length in shape:
            length *= side_length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + length]}
        at += length
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return path


def row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |")


def tools_in(folder):
    """Install Netron into a folder, and return what starts each tool."""
    venv.create(f"{folder}/netron", with_pip=True)
    subprocess.run([f"{folder}/netron/bin/python", "-m", "pip", "install", "--quiet", NETRON], check=True)
    return {"Steelyard": steelyard_page, "Netron": netron_page(f"{folder}/netron/bin/netron")}


def main():
    files = [Path(name) for name in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        tools = tools_in(folder)
        browser = playwright.chromium.launch(**CHROMIUM)
        found, foreign = ({tool: {} for tool in tools} for _ in range(2))
        row("file", *tools)
        row(*["---"] * 3)
        for file in files + [large(folder, size) for size in SIZES]:
            for tool, start in tools.items():
                found[tool][file.name], foreign[tool][file.name] = opened(browser, tool, start, file)
            row(file.name, *("no picture" if s[file.name] is None else f"{s[file.name]:.1f} s" for s in found.values()))
        asked = {tool: opened(browser, tool, start, files[0], consented=False)[1] for tool, start in tools.items()}
        browser.close()
    both = [file.name for file in files if all(seconds[file.name] is not None for seconds in found.values())]
    row("files opened", *(f"{sum(s[f.name] is not None for f in files)} of {len(files)}" for s in found.values()))
    row("median of those that both open", *(f"{statistics.median(s[name] for name in both):.1f} s" for s in found.values()))
    row("requests to other addresses, before anything was agreed to", *(len(urls) for urls in asked.values()))
    row("later, for each file", *(statistics.median(map(len, urls.values())) for urls in foreign.values()))


if __name__ == "__main__":
    main()

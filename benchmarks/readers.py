"""The readers of Steelyard beside those of Netron, on the largest real file of each format in the corpus.

Run `python benchmarks/readers.py MANIFEST FOLDER...`: the manifest is that of the real files, `public.json`, and the folders
hold them. It writes the table into `docs/formats.md`. Both tools show each file in the same browser, as in `netron.py`.
Tensors of Steelyard are those of scope "all", those of Netron whatever its model holds; the bulk export is a `.npz` of all.
"""

import contextlib
import datetime as dt
import json
import os
import statistics
import sys
import tempfile
import textwrap
import warnings
from pathlib import Path

import netron
from playwright.sync_api import Error, sync_playwright

import steelyard
from steelyard.errors import SteelyardError
from steelyard.text.units import in_units

PAGE = Path(__file__).parent.parent / "docs" / "formats.md"
BEGIN, END = "<!-- readers: benchmarks/readers.py -->", "<!-- end of readers -->"
MAIN = ("saved_model.pb", ".mlmodel", ".index", "model.json", ".onnx", ".xml")
"""The files of a model in several files that Netron opens, the likeliest first."""
COUNT = """() => {
    const seen = new Set(), tensors = new Set();
    const stack = [window.__view__.model];
    while (stack.length && seen.size < 500000) {
        const item = stack.pop();
        if (item === null || typeof item !== "object" || seen.has(item) || ArrayBuffer.isView(item)) continue;
        seen.add(item);
        if (item instanceof Map) { stack.push(...item.values()); continue; }
        if (Array.isArray(item)) { if (item.length < 100000) for (const part of item) stack.push(part); continue; }
        const names = new Set(Object.keys(item));
        for (let kind = Object.getPrototypeOf(item); kind && kind !== Object.prototype; kind = Object.getPrototypeOf(kind)) {
            for (const [name, what] of Object.entries(Object.getOwnPropertyDescriptors(kind))) if (what.get) names.add(name);
        }
        if (names.has("encoding") && names.has("type")) tensors.add(item);
        if (names.has("initializer") && item.initializer) tensors.add(item.initializer);
        for (const name of names) {
            if (["values", "data", "value_", "metrics"].includes(name) && names.has("encoding")) continue;
            try { stack.push(item[name]); } catch { continue; }
        }
    }
    return tensors.size;
}"""
"""Counts the tensors anywhere in the model that Netron has made: objects with an encoding and a type, and initializers."""
PATIENCE = 30_000
"""Milliseconds for a real file; a large one has those of `netron.py`."""


def chosen(manifest, folders):
    """Return the largest file of each format: the format, its path, the file that Netron gets, and the bytes of all files."""
    found = {}
    for entry in json.loads(manifest.read_text())["entries"]:
        path = next((folder / entry["path"] for folder in folders if (folder / entry["files"][0]["path"]).exists()), None)
        if path is not None and entry["n_tensors"] and entry["bytes"] > found.get(entry["format"], (None, None, 0))[2]:
            found[entry["format"]] = (path, main_file(path, entry), entry["bytes"])
    return found


def main_file(path, entry):
    """Return the file of a model that Netron opens: the model itself, or the likeliest of its files."""
    if path.is_file():
        return path
    root = Path(str(path)[: -len(entry["path"])])
    files = sorted(entry["files"], key=lambda file: -file["bytes"])
    likely = (root / file["path"] for end in MAIN for file in files if file["path"].endswith(end))
    return next(likely, root / files[0]["path"])


def exported(path, folder):
    """Return the number of weights of a file, and whether all are in a `.npz` that was written; None for a refused file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            listed = steelyard.weights(path, scope="all")
            readable = listed.select(lambda weight: weight.name not in listed.unreadable)
            steelyard.save(readable, folder / "all.npz")
            return len(listed), len(readable) == len(listed)
        except SteelyardError as error:
            print(error, file=sys.stderr)
            return None, False


def measured(browser, tools, path, file):
    """Return the seconds of both tools until there is a picture, the weights of Netron, and the foreign requests of both."""
    counts, large_patience = [], netron.PATIENCE
    netron.PATIENCE = PATIENCE

    def look(page):
        with contextlib.suppress(Error):
            # not by `evaluate`: Netron's page refuses window.eval
            told = page.context.new_cdp_session(page).send(
                "Runtime.evaluate", {"expression": f"({COUNT})()", "returnByValue": True}
            )
            counts.append(told["result"].get("value"))

    own, ours = netron.opened(browser, "Steelyard", tools["Steelyard"], path)
    other, foreign = netron.opened(browser, "Netron", tools["Netron"], file, look=look)
    netron.PATIENCE = large_patience
    return own, other, counts[0] if counts else None, len(ours), len(foreign)


def seconds(value):
    return "no picture" if value is None else f"{value:.1f} s"


def main():
    manifest, *folders = map(Path, sys.argv[1:])
    lines, rows = [], []
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        tools, folder = netron.tools_in(made), Path(made)
        browser = playwright.chromium.launch(**netron.CHROMIUM)
        for word, (path, file, size) in sorted(chosen(manifest, folders).items()):
            weights, is_whole = exported(path, folder)
            own, other, count, *foreign = measured(browser, tools, path, file)
            rows.append((weights, is_whole, own, other, count, *foreign))
            shown = "" if count is None else count
            lines.append(f"| {word} | {in_units(size)} | {weights or ''} | {seconds(own)} | {shown} | {seconds(other)} |")
            print(lines[-1], foreign, flush=True)
        large = {tool: largest(browser, tool, start, folder) for tool, start in tools.items()}
        browser.close()
    PAGE.write_text(with_block(PAGE.read_text(), "\n".join([*summary(rows, large), "", *HEAD, *lines])))


def largest(browser, tool, start, folder):
    """Return the gigabytes of the largest file of zeros that a tool opens."""
    opened = 0
    for size in netron.SIZES:
        file = netron.large(folder, size)
        opened = size if netron.opened(browser, tool, start, file)[0] is not None else opened
        file.unlink()
    return opened


HEAD = [
    "| format | bytes | tensors in Steelyard | seconds | tensors in Netron | seconds |",
    "|---|---|---|---|---|---|",
]


def summary(rows, large):
    """Return the sentences and the table above the rows of the files."""
    both = [row for row in rows if row[2] is not None and row[3] is not None]
    today = f"{dt.datetime.now(dt.UTC):%-d %B %Y}"
    version = netron.NETRON.partition("==")[2]
    cells = {
        "with a picture": [sum(row[place] is not None for row in rows) for place in (2, 3)],
        "files whose tensors all go into one `.npz`": [sum(row[1] for row in rows), "one tensor at a time"],
        "largest file of those of 1, 2 and 4 GB": [f"{large[tool]} GB" for tool in ("Steelyard", "Netron")],
        "median of those with a picture in both": [f"{statistics.median(row[place] for row in both):.1f} s" for place in (2, 3)],
        "requests to other addresses, for all files": [sum(row[place] for row in rows) for place in (5, 6)],
    }
    table = [f"| {what} | {one} | {other} |" for what, (one, other) in cells.items()]
    told = f"""The largest real file of each of {len(rows)} formats in our corpus, in both tools and the same browser, on {today},
        at a load of {os.getloadavg()[1]:.0f} on {os.cpu_count()} cores. Seconds run from the start of the program to the first
        picture: of the weights in Steelyard, of the operations and how they are connected in Netron; Steelyard draws the layers.
        Tensors of Steelyard are all that it lists in the file, those of Netron all in the model that it makes of it, also
        constants that are attributes of its nodes. Without a picture, Netron stayed at its first page, or had nothing to draw,
        for {PATIENCE / 1000:.0f} seconds."""
    return [
        "## Beside Netron's readers",
        "",
        textwrap.fill(" ".join(told.split()), 119),
        "",
        f"| {len(rows)} files | Steelyard {steelyard.__version__} | Netron {version} |",
        "|---|---|---|",
        *table,
    ]


def with_block(page, block):
    """Return the page with the block in place of an older one, or at its end."""
    above = page.partition(BEGIN)[0].rstrip("\n")
    return f"{above}\n\n{BEGIN}\n{block}\n{END}\n"


if __name__ == "__main__":
    main()

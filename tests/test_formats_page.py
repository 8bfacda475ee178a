"""The docs page of formats says what is so: it is made here, from the formats, the real files and the hostile ones.

Run with UPDATE_DOCS=1 to write it anew.
"""

import ast
import inspect
import json
import os
from collections import Counter
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import carried
import pytest

from steelyard import formats, limits
from steelyard.errors import SteelyardError
from steelyard.storage.source import open_path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "formats.md"


def real_files():
    """Count the real files of the corpus that each format recognises and lists."""
    counts = Counter()
    for entry in carried.real()["entries"]:
        try:
            form = formats.format_of(open_path(carried.path_of(entry)))
        except SteelyardError:
            continue
        counts[form.__name__.rpartition(".")[2]] += bool(entry["n_tensors"])
    return counts


def hostile_files():
    """Count the hostile files that must be refused, or of which a tensor must, by what they try."""
    cases = json.loads((carried.folder("hostile") / "hostile.json").read_text())["cases"].values()
    return Counter(case["threat"] for case in cases if case["expect"] != "read")


def table_of_limits():
    """Read each limit of the module, and the text below it."""
    lines = ["| limit | value | what it limits, and why |", "|---|---|---|"]
    body = ast.parse(inspect.getsource(limits)).body
    for node, text in pairwise(body):
        match node, text:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(what))):
                value = getattr(limits, name)
                shift = value.bit_length() - 1
                written = f"2^{shift}" if value == 1 << shift and value > 512 else f"{value:,}"
                lines.append(f"| `{name}` | {written} | {what} |")
    return lines


def page():
    real = real_files()
    lines = [
        "# Formats",
        "",
        "Which files are read and written. A format is one file in `steelyard/formats`, and is found by content; the suffix",
        "only says which is asked first. Frameworks are not needed. This page is made by the tests.",
        "",
        "| format | what it is | suffixes | written | real files read by the tests |",
        "|---|---|---|---|---|",
    ]
    for name in formats.SUFFIXES:
        module = import_module(f"steelyard.formats.{name}")
        what = module.__doc__.split("\n\n")[0].replace("\n", " ").rstrip(".").replace("|", "\\|")
        suffixes = " ".join(f"`{suffix}`" for suffix in module.SUFFIXES)
        lines.append(f"| {name} | {what} | {suffixes} | {'yes' if hasattr(module, 'write') else ''} | {real[name] or ''} |")
    lines += [
        "",
        "A real file is one that nobody here wrote: every tensor's name, type, shape and numbers are compared with a manifest",
        "that the frameworks themselves gave.",
        "",
        "## What is refused, and why",
        "",
        "A file that is damaged, ambiguous or hostile is refused in one line that names the file, the place and the reason; a",
        "single tensor that cannot be read is listed, and refused when its numbers are asked for. Nothing in a file is ever",
        "run: a pickle is read by a machine that knows no functions, and `steelyard check` says what it would have called.",
        "These are the hostile files of the tests, by what they try:",
        "",
        "| what the file tries, or what is wrong with it | files |",
        "|---|---|",
    ]
    lines += [f"| {threat} | {count} |" for threat, count in sorted(hostile_files().items())]
    lines += [
        "",
        "## Limits",
        "",
        "A small file must not fill the memory or occupy the processor for hours, so what a file claims is compared with",
        "these limits before anything is allocated. Real models are far below them. `steelyard.limits` has them, and raises",
        "one for a file that you trust: `with steelyard.limits.allow(INFLATED=1 << 33):` for a block, or",
        "`steelyard.limits.allow(INFLATED=1 << 33)` for good. Some are compared when a file is listed and some when its",
        "numbers are read, so do both in the block. They hold for the whole process.",
        "",
        *table_of_limits(),
    ]
    lines += [
        "",
        "## What a `.weights.h5` of Keras does not say",
        "",
        "Such a file has no config. Its groups are called after the classes of the layers and a counter; the names of the",
        "layers stand beside them, so that nearly all weights have the names of the live model. What the file does not hold",
        "is left open, and not guessed: a variable that a layer of one's own makes is called by its number (`block/0`), and",
        "so are scale or offset of a norm that has but one of them, and what lies in a wrapped layer that has a name of its",
        "own, since its class stands nowhere. Files from before Keras 3 wrote these names have those of the groups. A",
        "`.keras` file says more: it has the config. The optimizer is left out when such a file is written, and a compiled",
        "model that loads it warns that it keeps its own.",
    ]
    return "\n".join(lines) + "\n"


@pytest.mark.shared
def test_the_page_of_formats_is_what_the_tests_find():
    made = page()
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(made)
    assert PAGE.read_text() == made

"""The docs page of formats is up to date: it is made here from the formats, the real files and the hostile ones.

Run with UPDATE_DOCS=1 to write it again.
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
    """Count the hostile files that must be refused, in whole or in part, by what they try."""
    cases = json.loads((carried.folder("hostile") / "hostile.json").read_text())["cases"].values()
    return Counter(case["threat"] for case in cases if case["expect"] != "read")


def table_of_limits():
    """Read each limit of the module, and the text below it, below the comment that heads its group."""
    source = inspect.getsource(limits)
    groups = {number: line[2:] for number, line in enumerate(source.splitlines(), 1) if line.startswith("# ")}
    lines = []
    body = ast.parse(source).body
    for node, text in pairwise(body):
        match node, text:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(what))):
                if node.lineno - 1 in groups:
                    lines += ["", f"{groups[node.lineno - 1]}:", "", "| limit | value | unit and reason |", "|---|---|---|"]
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
        "The files that Steelyard reads and writes. A format is a module in `steelyard/formats` that recognises its files by",
        "content; the formats of the suffix are tried first. Frameworks are not needed. The tests make this page.",
        "The one model in an archive is read where it is, also if it is a folder such as a group of Zarr. `net.zip!/inner/model.pt`",
        "names one of several, and `net.zip!/inner` a folder, in every command. The models in a `.zip`, `.tar` or `.tar.gz` are among",
        "the files of a folder, for `steelyard ls FOLDER` and the others; of several in a `.tar.gz`, each must be named.",
        "",
        "| format | description | suffixes | written | real files read by the tests |",
        "|---|---|---|---|---|",
    ]
    for name in formats.SUFFIXES:
        module = import_module(f"steelyard.formats.{name}")
        what = module.__doc__.split("\n\n")[0].replace("\n", " ").rstrip(".").replace("|", "\\|")
        suffixes = " ".join(f"`{suffix}`" for suffix in module.SUFFIXES)
        lines.append(f"| {name} | {what} | {suffixes} | {'yes' if hasattr(module, 'write') else ''} | {real[name] or ''} |")
    lines += [
        "",
        "A real file was published by third parties: the name, type, shape and numbers of every tensor are compared with a",
        "manifest made by the frameworks themselves.",
        "",
        "## Written like a model",
        "",
        "Weights alone have no graph and no tokenizer. `steelyard convert new.safetensors out.onnx --like old.onnx` and",
        "`steelyard.save(new, 'out.onnx', like='old.onnx')` write a model again, with new numbers in the weights of the same names:",
        "",
        "| model | what stays | types |",
        "|---|---|---|",
        "| ONNX | the graph and all else of the file | those of the model |",
        "| TensorFlow.js `model.json` | the layers or the graph, texts, user's metadata | those of the model, also quantised ones, or `--dtype` |",
        "| GGUF | all key-values, their order, the tokenizer | those of the model, or `--dtype` for matrices; K- and IQ-quants that change need it |",
        "| CTranslate2 `model.bin` | the spec, the aliases | those of the model |",
        "| R `.rds` | the fit | those of R |",
        "",
        "CTranslate2 is not written in any other way: its variables depend on the spec, which its own converters make. A `.bin` of",
        "other weights is PyTorch's. MLX has no format of its own: its safetensors say `format: mlx`, and what is converted from such",
        "a file, or is written like it, says so too; its `.npz` is NumPy's. A `model.json` that is not written like another one has",
        "weights and no layers: `tf.io.decodeWeights` reads it, and a program gives the numbers to its own layers.",
        "",
        "## Refused files",
        "",
        "A damaged, ambiguous or hostile file is refused in one line that names the file, the place and the reason; a single",
        "tensor that cannot be read is listed, and refused when its numbers are read. Code in a file is never run: a pickle is",
        "read by a machine without functions, and `steelyard check` lists the calls that a loader would have made.",
        "A file of another kind is named, with what to do: a model of RKNN, an engine of TensorRT, trees of XGBoost, a Git LFS",
        "pointer, a login page, a file that was cut off after 40 %. The tests have these hostile files:",
        "",
        "| attack or defect | files |",
        "|---|---|",
    ]
    lines += [f"| {threat} | {count} |" for threat, count in sorted(hostile_files().items())]
    lines += [
        "",
        "## Listed, but not read",
        "",
        "Whatever a file holds that may be numbers, and cannot be given as numbers, is listed with the reason, and `check`, `diff`,",
        "`digest`, `convert` and all else that needs numbers refuse it by name. In a pickle these are lazy parameters and those on",
        "the meta device, masked arrays, arrays of records and objects, a storage or side file that is missing, and any run of 64",
        "bytes or more that no known call describes, for example in the state of an object or the arguments of its constructor.",
        "Numbers of Python itself, alone or in lists, are settings and not listed. In an archive of NumPy a member that is not a",
        "`.npy` is listed too; bfloat16 that NumPy wrote as raw bytes has no type, and is not read.",
        "",
        "A quantised tensor of PyTorch is listed as its stored integers, followed by `.scale` and `.zero_point` (of channels:",
        "`.scales` and `.zero_points`). The packed weights of quantised modules have the names of the state_dict, their parts",
        "numbered; the constants of a frozen TorchScript module are `constants.0` and so on.",
        "",
        "## Limits",
        "",
        "A small file must not fill the memory or occupy the processor for hours. So a reader spends from one budget of memory,",
        "`MEMORY` and `MEMORY_PER_BYTE`, before it allocates: whatever is listed, decoded or repeated is charged as so many bytes,",
        "and so is time. All that is in one file has one budget. A file that exceeds it is refused with the sum and its size. Real",
        "models need a hundredth of it. The other limits are fixed numbers, with which the claims of a file are compared.",
        "",
        "For a file that you trust, `steelyard.weights(path, limits={'INFLATED': 1 << 33})` raises one for this file, when it is",
        "listed and whenever its numbers are read, and `limits='none'` lifts the limits of memory and time; those of depth, shape",
        "and rank stay. `with steelyard.limits.allow(INFLATED=1 << 33):` raises it in the whole process for a block, in which the",
        "numbers must be read too, and `steelyard.limits.allow(INFLATED=1 << 33)` permanently. Every command has",
        "`--limits INFLATED_RATIO=2000`, which may be given again, and `--limits none`.",
        "",
        *table_of_limits()[1:],
    ]
    lines += [
        "",
        "## Limitations of Keras's `.weights.h5`",
        "",
        "Such a file has no config. Its groups are named by the classes of the layers and a counter; attributes have the",
        "names of the layers, so that nearly all weights have the names of the live model. Missing names are not guessed: a",
        "variable of a user's layer is named by its number (`block/0`), as are the scale or the offset of a norm with only one",
        "of them, and the variables of a wrapped layer with a custom name, since the file does not have its class. Weights in",
        "files from before Keras 3 stored layer names are named by their groups. A `.keras` file has the config, and so all",
        "names. A written file does not include the optimizer; a compiled model that loads it warns that it keeps its own.",
    ]
    return "\n".join(lines) + "\n" + measured()


def measured():
    """Return the part of the page that `benchmarks/readers.py` has measured, as it is."""
    _, begin, block = PAGE.read_text().partition("\n<!-- readers: benchmarks/readers.py -->\n")
    return begin + block


WORDS = {
    "dcp": "DCP",
    "dnnw": "Xiph",
    "graphdef": "frozen graphs",
    "keras": "`.keras`",
    "keras_shards": "also in shards",
    "mxnet": "MXNet",
    "packs": "packs",
    "pipeline": "sentence-transformers",
    "ptl": "`.ptl`",
    "pt2": "`.pt2`",
    "r": "`.rds`",
    "raw": "raw numbers",
    "rnnoise": "RNNoise",
    "sharded": "folders of the Hub",
    "sklearn": "joblib",
    "wrapped": "archive",
}
"""The words of the README for formats that it does not name as the page does."""


def test_the_readme_names_every_format_among_the_files_that_are_read():
    table = (ROOT / "README.md").read_text().partition("| file | how |")[2].partition("\n\n")[0]
    titles = {name: import_module(f"steelyard.formats.{name}").__doc__.partition(":")[0] for name in formats.SUFFIXES}
    assert not [name for name, word in {**titles, **WORDS}.items() if word not in table]


@pytest.mark.shared
def test_the_page_of_formats_is_what_the_tests_find():
    made = page()
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(made)
    assert PAGE.read_text() == made

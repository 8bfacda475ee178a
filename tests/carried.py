"""Where the data of the tests is: carried in `tests/data`, fetched by `scripts/corpus`, or kept outside of the project.

`tests/data` has what was made for this project. Files of third parties that no package has stay in a folder of their own,
`../shared` or the one that STEELYARD_SHARED names: a test that reads them has the mark `shared`.
"""

import atexit
import functools
import json
import lzma
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"
SHARED = Path(os.environ.get("STEELYARD_SHARED") or ROOT.parent / "shared")
OUTSIDE = SHARED / "corpus" / "files"
PACKAGES = Path(os.environ.get("STEELYARD_CORPUS") or ROOT / ".corpus") / "files"


@functools.cache
def folder(name):
    """Unpack a set of files for the time of this process, and return its folder: "golden", "r" or "hostile"."""
    made = tempfile.mkdtemp(prefix=f"steelyard-{name}-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    with tarfile.open(DATA / f"{name}.tar.xz") as archive:
        archive.extractall(made, filter="data")
    return Path(made)


@functools.cache
def golden_cases():
    """Return the golden cases: one set of weights in the files of each framework, an input, and the expected output."""
    return json.loads((folder("golden") / "index.json").read_text())["cases"]


@functools.cache
def real():
    """Return what is known of the real files: `entries` with every tensor, and `pairs` of files with equal numbers."""
    return json.loads(lzma.decompress((DATA / "real.json.xz").read_bytes()))


def is_outside(entry):
    """Return whether a real file is one that no package has."""
    return entry["source"]["kind"] != "pip"


def path_of(entry):
    """Return where a real file is."""
    path = (OUTSIDE if is_outside(entry) else PACKAGES) / entry["path"]
    assert path.parent.exists(), f"{path.parent} is missing; scripts/corpus fetches it"
    return path


def marks(*entries):
    """Return the marks of a test that reads these real files."""
    return [pytest.mark.shared] if any(map(is_outside, entries)) else []


def parameters(entries):
    """Return real files as parameters of a test, marked where they are outside."""
    return [pytest.param(entry, id=entry["id"], marks=marks(entry)) for entry in entries]

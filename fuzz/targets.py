"""The fuzz targets: one for each decoder, which takes the bytes of a file and reads all its weights.

A target may raise nothing but a `SteelyardError`. With checksums every change would only be reported as damage, so the
members of zip archives are fuzzed in archives without checksums.
"""

import io
import json
import struct
import zipfile

import carried

from steelyard.codecs.compression import plain
from steelyard.codecs.hdf5.space import Fields
from steelyard.codecs.pickle.machine import Machine
from steelyard.codecs.pickle.values import Blob, Boxed, Global, Persistent, Record
from steelyard.codecs.r.stream import read_r
from steelyard.codecs.r.values import Vector
from steelyard.errors import FileMissingError, SteelyardError
from steelyard.formats import weights_in
from steelyard.storage.source import from_bytes

LARGEST = 1 << 24
"""Bytes of a weight that are read; a file may claim more without a mistake of ours."""


def read_all(data, name, beside=None):
    """Read every weight of a file with this content and name."""
    files = beside or {}

    def other(wanted):
        if wanted not in files:
            raise FileMissingError(f"{wanted}: no such file")
        return from_bytes(files[wanted], wanted, other)

    try:
        found = weights_in(from_bytes(data, name, other), "all")
    except SteelyardError:
        return
    for weight in found.values():
        if weight.nbytes <= LARGEST:
            try:
                weight.numpy()
            except SteelyardError:
                continue


def read_r_values(data):
    """Read every object of an R serialization, also those that hold no weights; return whether it could be read."""
    try:
        left, seen = [read_r(from_bytes(data, "x.rds"))], set()
    except SteelyardError:
        return False
    while left:
        value = left.pop()
        if value is None or id(value) in seen:
            continue
        seen.add(id(value))
        repr(value)
        if isinstance(value, Vector) and value.numbers:
            value.read(0, min(value.length, LARGEST >> 4))
        left += getattr(value, "attributes", {}).values()
        left += getattr(value, "parts", {}).values()
        left += [inner for _, inner in value.pairs()] if hasattr(value, "pairs") else []
    return True


def run_machine(source, *, is_fast):
    """Run a pickle, with or without `fast_tensors`, and return its root or error, the machine's records and its memo."""
    machine = Machine(source)
    machine.is_fast = is_fast
    try:
        root = machine.load()
    except SteelyardError as error:
        root = str(error)
    return [root, machine.offset, machine.stack, machine.marks, machine.memo, machine.records, machine.references], machine


def are_alike(one, other):
    """Compare decoded pickles. What is mutable must also be shared in the same places."""
    left, partners, seen = [(one, other)], {}, set()
    while left:
        a, b = left.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, (list, dict, Record, Persistent)) and partners.setdefault(id(a), id(b)) != id(b):
            return False
        if (id(a), id(b)) in seen:
            continue
        seen.add((id(a), id(b)))
        mine, others = _members(a), _members(b)
        if mine is None:
            if repr(a) != repr(b):
                return False
        elif len(mine) != len(others):
            return False
        else:
            left += zip(mine, others, strict=True)
    return True


def _members(value):
    """Return what a value consists of; None for a plain one."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, Record):
        return [value.call, value.args, value.state, value.items, value.entries]
    slots = {Persistent: ("key",), Boxed: ("value",), Blob: ("offset", "length"), Global: ("text",)}.get(type(value))
    if slots:
        return [getattr(value, slot) for slot in slots]
    return value if isinstance(value, (list, tuple)) else None


def fast_as_slow(data):
    """Run a pickle with and without `fast_tensors`; both must end alike."""
    source = from_bytes(data, "x.pkl")
    fast, _ = run_machine(source, is_fast=True)
    slow, _ = run_machine(source, is_fast=False)
    assert are_alike(fast, slow)


def pickle_of_tensors(count=48):
    """Return a state_dict as torch.save pickles it: enough tensors for memo indices above 255, which take four bytes."""
    memo = {}

    def put(key):
        memo[key] = index = len(memo)
        return b"q%c" % index if index < 256 else b"r" + struct.pack("<L", index)

    def once(key, content):
        if key not in memo:
            return content + put(key)
        return b"h%c" % memo[key] if memo[key] < 256 else b"j" + struct.pack("<L", memo[key])

    def text(word):
        return b"X" + struct.pack("<L", len(word)) + word

    def tensor(place):
        rows = place % 3 + 1
        yield text(b"layers.%d.weight" % place) + put(object())
        yield once("rebuild", b"ctorch._utils\n_rebuild_tensor_v2\n")
        yield b"((" + once("storage", text(b"storage")) + once(rows & 1, b"ctorch\n%sStorage\n" % (b"Float", b"Half")[rows & 1])
        yield text(b"%d" % place) + put(object()) + once("cpu", text(b"cpu")) + b"K%ct" % (4 * rows) + put(object()) + b"Q"
        yield b"K\0K%cK\4\x86" % rows + put(object()) + b"K\4K\1\x86" + put(object())
        yield b"\x89" + once("ordered", b"ccollections\nOrderedDict\n") + b")R" + put(object())
        yield b"t" + put(object()) + b"R" + put(object())

    head = b"\x80\2" + once("ordered", b"ccollections\nOrderedDict\n") + b")R" + put(object()) + b"("
    return head + b"".join(piece for place in range(count) for piece in tensor(place)) + b"u."


def as_file(name):
    return lambda data: read_all(data, name)


def in_zip(name, member, **others):
    """Wrap bytes as a member of an archive whose checksums are zero, which means that none was kept."""

    def target(data):
        members = {member: data, **others}
        raw, entries = b"", b""
        for path, content in members.items():
            key = path.encode()
            sizes = struct.pack("<3L2H", 0, len(content), len(content), len(key), 0)
            entries += (
                b"PK\1\2" + struct.pack("<6H", 20, 20, 0, 0, 0, 0) + sizes + struct.pack("<3H2L", 0, 0, 0, 0, len(raw)) + key
            )
            raw += b"PK\3\4" + struct.pack("<5H", 20, 0, 0, 0, 0) + sizes + key + content
        end = b"PK\5\6" + struct.pack("<4H2LH", 0, 0, len(members), len(members), len(entries), len(raw), 0)
        read_all(raw + entries + end, name)

    return target


STORAGES = {f"archive/data/{key}": bytes(range(256)) for key in range(4)} | {"archive/version": b"3\n"}

NET = {
    "__loader__": "ObjectNode",
    "__module__": "skorch.classifier",
    "__class__": "NeuralNetClassifier",
    "content": {
        "__loader__": "DictNode",
        "content": {"__cuda_dependent_attributes__": {"__loader__": "BytesNode", "file": "net.bin"}},
    },
}
"""What skops writes of a skorch net, whose modules are a pickle in a member of their own."""


def hdf5_without_checksums(data):
    """Read a file of HDF5 1.10 or later, whose structures have checksums, as if all of them held."""
    check, Fields.check = Fields.check, lambda _: None
    try:
        read_all(data, "x.h5")
    finally:
        Fields.check = check


def latest_hdf5():
    """Return a file with each kind of index of chunks, a large group, and attributes in a heap."""
    import h5py
    import numpy as np

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="latest") as file:
        for number in range(20):
            file[f"group/w{number}"] = float(number)
            file["group"].attrs[f"text {number}"] = "a" * number
        for name, largest in {"fixed": None, "one": (None, 6), "two": (None, None)}.items():
            file.create_dataset(name, data=np.ones((20, 6)), chunks=(3, 4), maxshape=largest, compression="gzip")
    return buffer.getvalue()


TARGETS = {
    "fast-tensors": fast_as_slow,
    "flax": as_file("x.msgpack"),
    "gguf": as_file("x.gguf"),
    "hdf5": as_file("x.h5"),
    "hdf5-latest": hdf5_without_checksums,
    "joblib": as_file("x.joblib"),
    "keras": as_file("x.keras"),
    "npy": as_file("x.npy"),
    "npz": as_file("x.npz"),
    "npz-member": in_zip("x.npz", "w.npy"),
    "onnx": as_file("x.onnx"),
    "pickle": as_file("x.pkl"),
    "r-nets": as_file("x.rds"),
    "rdata": read_r_values,
    "safetensors": as_file("x.safetensors"),
    "sharded": as_file("x.safetensors.index.json"),
    "skops": as_file("x.skops"),
    "skops-net": in_zip("x.skops", "net.bin", **{"schema.json": json.dumps(NET).encode()}),
    "skops-schema": in_zip("x.skops", "schema.json"),
    "tensorflow": as_file("x.index"),
    "tflite": as_file("x.tflite"),
    "torch": as_file("x.pt"),
    "torch-legacy": as_file("x.pth"),
    "torch-pickle": in_zip("x.pt", "archive/data.pkl", **STORAGES),
}

CORPUS = {
    "hdf5": ("keras-h5",),
    "rdata": ("rds",),
    "tensorflow": ("tf-checkpoint",),
    "torch": ("torch-zip",),
    "torch-pickle": ("torch-zip",),
    "npz-member": ("npy",),
    "sharded": ("safetensors-index",),
    "skops-net": ("pickle", "torch-legacy"),
    "skops-schema": ("skops",),
}
"""The formats of the hostile corpus whose files a target begins with, where they are not its own name."""
INSIDE = {"torch-pickle": "data.pkl", "skops-schema": "schema.json"}
"""The member of an archive that a target takes, where it takes one."""


FOLDERS = {"r-nets": ("nnet", "other", "rtorch", "keras_r")}
"""The folders of R's own files that a target begins with."""


MADE = {"fast-tensors": pickle_of_tensors, "hdf5-latest": latest_hdf5}
"""Targets that begin with a file that is made here."""


def seeds(target, limit=1 << 16):
    """Yield the hostile files of a target's formats, which are small and reach deep."""
    if target in MADE:
        yield MADE[target]()
    for folder in FOLDERS.get(target, ()):
        for path in sorted((carried.folder("r") / folder).iterdir()):
            if path.suffix in (".rds", ".pt"):
                content = plain(from_bytes(path.read_bytes(), path.name))
                yield content.read(0, content.size)
    hostile = carried.folder("hostile")
    for name, case in json.loads((hostile / "hostile.json").read_text())["cases"].items():
        if case["format"] in CORPUS.get(target, (target,)):
            for path in sorted((hostile / "files" / name).rglob("*")):
                if path.is_file() and not path.is_symlink() and path.stat().st_size <= limit:
                    yield from _content(path.read_bytes(), INSIDE.get(target))


def _content(data, inside):
    if inside is None:
        yield data
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from (archive.read(name) for name in archive.namelist() if name.endswith(inside))
    except Exception:  # noqa: BLE001 - a hostile archive that Python's own reader does not open is not a seed
        pass

"""Makes hostile files by their bytes, each of a kind that once crashed, hung or misled a reader; runs every command over files.

Usage: python hostile.py FILE..., which prints for each file and command what happened, as JSON.
"""

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from pathlib import Path

import numpy as np
from forking import forked, largest

from steelyard.cli import main
from steelyard.codecs.crc32c import crc32c
from steelyard.formats.tensorflow.sstable import MAGIC

SECONDS = 5
MEMORY = 240 << 20
"""bytes that a command may take in addition to the imports, which take 60 MB: 300 MB together"""
LISTS = b"[" + b"[]," * 10_000_000 + b"[]]"
CHUNK = (64, 64)
NET = {"fc1.weight": np.ones((4, 3), "f4"), "fc1.bias": np.ones(4, "f4")}
"""The model beside JSON files of pairs and rules."""


def make(folder):
    """Write hostile files into a folder."""
    made = {
        **{f"chunk-{name}.h5": _chunk(**chunk) for name, chunk in CHUNKS.items()},
        "scaleoffset.h5": _hdf5(lambda file: file.create_dataset("w", data=np.arange(64), chunks=(64,), scaleoffset=0)),
        "long-text.h5": _long_text(),
        "bomb.keras": _zipped({"config.json": LISTS, "metadata.json": b"{}", "model.weights.h5": _hdf5(lambda file: None)}),
        "bomb.skops": _zipped({"schema.json": b'{"__loader__": ' + LISTS + b"}"}),
        "claims.npz": _zipped({"w.npy": _array((1 << 40,)), "v.npy": _array((2,)) + bytes(8)}),
        "quoted.npz": _overlapping(),
        "names.index": _names(),
        "list.pairs.json": b'{"fc1": [[]]}',
        "number.rules.json": b'{"fc(.*)": 9223372036854775808}',
        "escape.rules.json": b'{"fc1": "\\\\9"}',
        "long-axes.safetensors": _without_numbers(LONG_AXES),
        "no-kernel.safetensors": _without_numbers(NO_KERNEL),
        "deep.rules.json": b'{"fc1": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return sorted(folder / name for name in made)


LONG = 1 << 40
LONG_AXES = {
    "fc1.weight": (0, LONG),
    "fc1.bias": (0,),
    "fc2.weight": (LONG, 0),
    "conv.weight": (2, 2, LONG, 0),
    "embed_tokens.weight": (LONG, 0),
    "self_attn.q_proj.weight": (LONG, 0),
    "lora.lora_A.weight": (0, LONG),
}
"""Weights without numbers, which take no byte however long their other axes are."""
NO_KERNEL = {"fc3.weight_g": (LONG, 1, 0), "fc3.weight_v": (LONG, 0, 3), "lstm.weight_ih_l0": (4 * LONG, 0)}
"""A convolution of which only the parts of a weight normalisation that do not fit are known, and half an LSTM."""
CHUNKS = {
    "short": {"packed": zlib.compress(bytes(16)), "filters": {"compression": "gzip"}},
    "empty": {"packed": zlib.compress(b""), "filters": {"compression": "gzip"}},
    "long": {"packed": zlib.compress(bytes(70_000)), "filters": {"compression": "gzip"}},
    "masked": {"packed": bytes(16), "filters": {"compression": "gzip"}, "mask": 1},
    "shuffled": {"packed": zlib.compress(bytes(16)), "filters": {"compression": "gzip", "shuffle": True}},
    "lzf": {"packed": b"\x0f" + bytes(16), "filters": {"compression": "lzf"}},
}
"""Chunks of HDF5 that hold fewer or more bytes than their shape takes."""


def _without_numbers(shapes):
    header = json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()})
    return len(header).to_bytes(8, "little") + header.encode()


def _hdf5(fill):
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w", libver="earliest") as tree:
        fill(tree)
    return file.getvalue()


def _chunk(packed, filters, mask=0):
    def fill(file):
        file.create_dataset("w", CHUNK, "i4", chunks=CHUNK, **filters).id.write_direct_chunk((0, 0), packed, mask)

    return _hdf5(fill)


def _long_text():
    """An attribute whose text claims 2^31 - 1 bytes."""

    def fill(file):
        file.create_dataset("w", data=np.arange(4.0)).attrs["note"] = "twelve bytes"

    data = _hdf5(fill)
    at = data.index((12).to_bytes(4, "little"), data.index(b"note"))  # the length, before the reference to the text
    return data[:at] + (2**31 - 1).to_bytes(4, "little") + data[at + 4 :]


def _zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _array(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


def _overlapping():
    """An archive whose first member, by the length of its local extra field, is the second one."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("a.npy", "b.npy"):
            archive.writestr(zipfile.ZipInfo(name), _array((4,)) + np.arange(4, dtype="f4").tobytes())
        distance = archive.getinfo("b.npy").header_offset
    data = bytearray(file.getvalue())
    data[28:30] = distance.to_bytes(2, "little")
    return bytes(data)


# A sorted string table, here of one block of data:
#   block   entries (shared, own, value length as varints; own bytes of the key; value), one restart (4 zero bytes), 1(4),
#           00 (not compressed), the masked checksum(4)
#   index   a block with one entry, whose value is the offset and the length of the block of data
#   footer  offsets and lengths of a block of metadata and of the index, filled up to 40 bytes, and the magic number
def _names(count=30_000):
    """The index of a checkpoint in which each name shares all of the name before it: together 450 MB of names."""
    content = b"".join(_varint(number) + b"\1\0x" for number in range(count))
    data = _block(content)
    index = _block(b"\0\1" + _varint(len(_varint(0) + _varint(len(data) - 5))) + b"x" + _varint(0) + _varint(len(data) - 5))
    footer = _varint(0) + _varint(0) + _varint(len(data)) + _varint(len(index) - 5)
    return data + index + footer.ljust(40, b"\0") + MAGIC


def _varint(value):
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _varint(value >> 7)


def _block(content):
    data = content + bytes(4) + (1).to_bytes(4, "little") + b"\0"
    crc = crc32c(data)
    return data + (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def commands(file, net):
    """Return the commands that are run over a file."""
    reading = [["ls"], ["ls", "--json"], ["show"], ["check", "--health"], ["digest"], ["stats"], ["stats", "--by", "in"]]
    reading += [["digest", "--layout", "canonical"], ["layers"], ["size"], ["grid"], ["spectra"], ["lineage", file]]
    reading += [["diff", file, "--align", "permutation"]]
    made = [[*command[:1], file, *command[1:]] for command in reading]
    made += [["convert", file, "out.npz"], ["diff", file, file], ["transfer", file, "--into", file, "-o", "o.npz"]]
    made += [["report", file, "-o", "r.html"]]
    if file.endswith(".json"):
        made += [["transfer", net, "--into", net, "-o", "o.npz", kind, file] for kind in ("--pairs", "--rules")]
    return made


def run(argv):
    """Run a command in an empty folder; return its status, output, seconds, bytes of memory, and the files that it left."""
    out, err, start = io.StringIO(), io.StringIO(), (time.process_time(), largest())
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(argv)
        except SystemExit as error:
            status = error.code
        except BaseException:
            status = traceback.format_exc()[-1500:]
    seen = {"status": status, "out": out.getvalue()[-5000:], "err": err.getvalue()[-5000:], "left": sorted(os.listdir("."))}
    return seen | {"seconds": time.process_time() - start[0], "memory": largest() - start[1]}


def run_all(files):
    """Run every command over every file, each in a fork; return what each did."""
    import steelyard

    folder = tempfile.mkdtemp()
    net = f"{folder}/net.npz"
    steelyard.save(NET, net)
    os.chdir(folder)
    Path("unknown.json").write_text("{}")
    for argv in [*commands(net, net), *commands("unknown.json", net)]:
        run(argv)  # all that is needed is imported now, once for all forks
    found = []
    for file in files:
        for argv in commands(file, net):
            place = tempfile.mkdtemp(dir=folder)
            os.chdir(place)
            status, seen = forked(lambda argv=argv: run(argv), SECONDS)
            found.append({"argv": argv, "ended": status, **(seen or {})})
            os.chdir(folder)
            shutil.rmtree(place)
    shutil.rmtree(folder)
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run_all(sys.argv[1:])))

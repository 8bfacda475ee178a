"""Pack what is known of the real weight files: python tests/data/make_real.py [TARGET]

`real.json.xz` has an entry for each file: the package, or the repository and commit, that it is from, and the name, dtype, shape
and SHA-256 of each tensor; and the pairs of files with equal numbers. The two manifests that it is packed from, in the folder
of third parties' files (see carried.py), were written by each format's own library, never by Steelyard. Before packing, the
files of packages that `scripts/corpus` has fetched are read anew by the libraries of the test extras (PyTorch, safetensors,
NumPy, h5py), and must agree.
"""

import hashlib
import json
import lzma
import sys
from pathlib import Path

import h5py
import numpy as np
import torch
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).parents[1]))
import carried

TARGET = carried.DATA / "real.json.xz"
ENTRY = ("id", "format", "source", "licence", "path", "files", "n_tensors", "tensors")
SOURCE = ("kind", "package", "version", "repo", "commit")
TENSOR = ("name", "dtype", "shape", "sha256")
PAIR = ("a", "b", "matches")


def chosen(record, keys):
    return {key: record[key] for key in keys if key in record}


def entry_of(record):
    entry = chosen(record, ENTRY)
    entry["source"] = chosen(record["source"], SOURCE)
    entry["files"] = [chosen(file, ("path",)) for file in record["files"]]
    entry["tensors"] = [chosen(tensor, TENSOR) for tensor in record["tensors"]]
    return entry


def of_torch(path):
    """Return the tensors of a flat state dict; None for any other content."""
    held = torch.load(path, map_location="cpu", weights_only=True)
    flat = all(isinstance(tensor, torch.Tensor) for tensor in held.values())
    return {name: tensor.detach().numpy() for name, tensor in held.items()} if flat else None


def of_hdf5(path):
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, held: arrays.update({name: held[()]}) if isinstance(held, h5py.Dataset) else None)
    return arrays


READERS = {
    "safetensors": load_file,
    "npz": lambda path: dict(np.load(path)),
    "torch-zip": of_torch,
    "torch-legacy": of_torch,
    "keras-h5": of_hdf5,
    "keras-weights-h5": of_hdf5,
}


def fact(array):
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    return array.dtype.name, list(array.shape), hashlib.sha256(little.tobytes()).hexdigest()


def check(entry):
    """Read a file anew, and return whether that was possible. Raises `AssertionError` where its tensors are others."""
    path = carried.PACKAGES / entry["path"]
    arrays = READERS[entry["format"]](path) if path.is_file() and entry["format"] in READERS else None
    if arrays is None:
        return False
    expected = {each["name"]: (each["dtype"], each["shape"], each["sha256"]) for each in entry["tensors"]}
    assert {name: fact(array) for name, array in arrays.items()} == expected, entry["id"]
    return True


def main(target=TARGET):
    manifests = carried.SHARED / "corpus"
    entries = [entry_of(record) for record in json.loads((manifests / "public.json").read_text())["entries"]]
    pairs = [chosen(pair, PAIR) for pair in json.loads((manifests / "pairs_public.json").read_text()) if pair["matches"]]
    sys.stderr.write(f"read anew: {sum(map(check, entries))} of {len(entries)} files\n")
    text = json.dumps({"entries": entries, "pairs": pairs}, separators=(",", ":"))
    Path(target).write_bytes(lzma.compress(text.encode(), preset=9))


if __name__ == "__main__":
    main(*sys.argv[1:])

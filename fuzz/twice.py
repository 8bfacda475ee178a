"""Many mutants of 20 files of HDF5 and Keras, listed, audited and read twice: python fuzz/twice.py [--mutants 100000]

Forks of this process read them, each in milliseconds where whole commands take a second. Memory that nobody
has written holds another byte in the second reading: a number that is not in the file would differ.
"""

import argparse
import contextlib
import ctypes
import hashlib
import io
import itertools
import json
import os
import random
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import carried
import h5py
import numpy as np
from forks import Tally, look
from mutators import mutate

import steelyard
from steelyard.errors import SteelyardError

BYTES = (0x55, 0xAA)
"""What memory holds that nobody has written, in the first and the second reading."""
TOGETHER = 20
"""Mutants that one process reads: the fork takes as long as the reading of one."""
CARRIED = (
    *("golden/dense/keras.weights.h5", "golden/lstm/keras.weights.h5", "golden/batchnorm2d/keras.keras"),
    *("golden/conv1d/keras.keras", "effective/keras-int8-dense/model.weights.h5", "effective/tfmot-pruned/weights.h5"),
    *("hostile/files/h5-legacy-lambda/model.h5", "hostile/files/ks-deflated/model.keras"),
)
"""Files of Keras 2 and 3 with whole models and with weights alone."""
_empty = np.empty


def sources():
    """Return 20 different files, as (name, bytes): all layouts and filters of HDF5, in its first and its newest version."""
    made = [(f"{kind}-{version}.h5", _hdf5(kind, version)) for version in ("earliest", "latest") for kind in LAYOUTS]
    return made + [(name.replace("/", "-"), _carried(name)) for name in CARRIED]


def _carried(name):
    folder, _, path = name.partition("/")
    return (carried.folder(folder) / path).read_bytes()


def _texts(file):
    for number in range(9):
        file[f"group/w{number}"] = float(number)
        file["group"].attrs[f"text {number}"] = "a" * number
    file.create_dataset("names", data=np.array(["one", "other"], object), dtype=h5py.string_dtype())


def _compact(file):
    space, plist = h5py.h5s.create_simple((4, 3)), h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    dataset = h5py.h5d.create(file.id, b"compact", h5py.h5t.IEEE_F32LE, space, plist)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(12, dtype="f4").reshape(4, 3))


def _gzip(file):
    for name, largest in {"fixed": None, "one": (None, 6), "two": (None, None)}.items():
        file.create_dataset(name, data=np.ones((20, 6)), chunks=(3, 4), maxshape=largest, compression="gzip")


LAYOUTS = {
    "contiguous": lambda file: [
        file.create_dataset(f"w{kind}", data=np.arange(12).astype(kind)) for kind in ("<f4", ">f8", "i2")
    ],
    "compact": _compact,
    "gzip": _gzip,
    "checked": lambda file: file.create_dataset(
        "checked", data=np.ones((5, 6), ">f4"), chunks=(5, 2), shuffle=True, fletcher32=True, compression="gzip"
    ),
    "lzf": lambda file: file.create_dataset("lzf", data=np.zeros((50, 6), "i2"), chunks=(10, 6), compression="lzf"),
    "texts": _texts,
}


def _hdf5(kind, version):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=version) as file:
        LAYOUTS[kind](file)
    return buffer.getvalue()


def poison(byte):
    """Let the C library and NumPy, which keeps small pieces of memory for itself, give out memory that is filled with a byte."""
    ctypes.CDLL(None).mallopt(-6, byte)  # M_PERTURB

    def empty(*args, **options):
        made = _empty(*args, **options)
        if not made.dtype.hasobject and made.nbytes:
            made.reshape(-1, order="A").view("u1")[:] = byte
        return made

    np.empty = empty


def told(path, scope="all"):
    """Return all that the library says of a file: each weight with a digest of its numbers, or why it cannot be read."""
    try:
        listed = steelyard.weights(path, scope=scope)
    except SteelyardError as error:
        return [str(error)]
    return [(weight.name, weight.dtype, weight.shape, _numbers(weight)) for weight in listed.values()]


def _numbers(weight):
    try:
        return hashlib.sha256(weight.numpy().tobytes()).hexdigest()
    except SteelyardError as error:
        return str(error)


def read_twice(path):
    """Read a file twice, list the model in it and audit it; return how it ended and what was wrong."""
    said = []
    for byte in BYTES:
        poison(byte)
        said.append(told(path))
    steelyard.audit(path)
    with contextlib.suppress(SteelyardError):
        steelyard.weights(path)
    wrong = ["the two readings differ"] if said[0] != said[1] else []
    if any("not enough memory" in str(line) for line in said[0]):
        wrong.append("asks for too much memory")
    refused = [isinstance(line, str) or line[3].count(" ") > 0 for line in said[0]]
    return "refused" if [*map(type, said[0])] == [str] else "in part" if any(refused) else "read", wrong


def mutants(count, seed):
    """Yield (name, bytes), each source in turn."""
    chance, originals = random.Random(f"twice {seed}"), sources()
    for number in range(count):
        name, data = originals[number % len(originals)]
        yield name, mutate(data, chance)


def run(count, seed, found):
    """Read so many mutants; print and keep those with a fault, and return what was seen in all."""
    tally = Tally()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        for name, data in sources():
            told(_written(folder, name, data))  # imports what the readers need
            steelyard.audit(_written(folder, name, data))
        every = mutants(count, seed)
        while batch := [*itertools.islice(every, TOGETHER)]:
            paths = [_written(folder, name, data) for name, data in batch]
            for (name, data), seen in zip(batch, look(paths, read_twice), strict=True):
                if tally.adds(name, seen):
                    _written(found, f"{tally.count}-{name}", data)
    return tally.total()


def _written(folder, name, data):
    path = os.path.join(folder, name)
    Path(path).write_bytes(data)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--found", type=Path, default=Path("fuzz/found"), help="the folder for files that are read wrongly")
    parser.add_argument("--measured", type=Path, help="the file of figures, of which scripts/security.py has a line")
    args = parser.parse_args()
    args.found.mkdir(parents=True, exist_ok=True)
    total = run(args.mutants, args.seed, args.found)
    print(json.dumps(total))
    if args.measured:
        args.measured.write_text(json.dumps(total, indent=1) + "\n")
    return total["faults"] > 0


if __name__ == "__main__":
    sys.exit(main())

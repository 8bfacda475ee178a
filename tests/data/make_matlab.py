"""Make files of MATLAB with the libraries that write and read them, and pack them: python tests/data/make_matlab.py

It needs scipy, hdf5storage and mat73, of which the project has the first: run it in an environment of its own.
"""

import io
import shutil
import tarfile
import tempfile
from pathlib import Path

import hdf5storage
import mat73
import numpy as np
import scipy.io
import scipy.sparse

HERE = Path(__file__).parent
RANDOM = np.random.default_rng(0)


def cell(*values):
    made = np.empty((1, len(values)), object)
    for place, value in enumerate(values):
        made[0, place] = value
    return made


def variables():
    """Return arrays of each class and shape."""
    return {
        "W": RANDOM.normal(size=(3, 4)),
        "single": RANDOM.normal(size=(2, 3, 4)).astype("f4"),
        "bytes": np.arange(6, dtype="u1").reshape(2, 3),
        "long": np.array([[-(1 << 60), 7]]),
        "whole": np.arange(300.0).reshape(15, 20),
        "flags": np.array([[True, False, True]]),
        "z": (RANDOM.normal(size=(2, 2)) + 1j * RANDOM.normal(size=(2, 2))),
        "one": np.array([[2.5]]),
        "none": np.zeros((0, 3)),
        "text": "hello",
        "c": cell(RANDOM.normal(size=(2, 2)), cell(np.ones((1, 3)), "a")),
        "s": {"w": RANDOM.normal(size=(2, 5)), "inner": {"b": np.ones((1, 2), "f4")}},
    }


def chain():
    """Return a chain of layers as MatConvNet has it."""
    conv = {"name": "conv1", "type": "conv", "stride": np.ones((1, 2)), "pad": np.zeros((1, 4))}
    conv["weights"] = cell(RANDOM.normal(size=(3, 3, 2, 5)).astype("f4"), RANDOM.normal(size=(1, 5)).astype("f4"))
    norm = {"name": "bn1", "type": "bnorm", "weights": cell(*(RANDOM.normal(size=(5, n)).astype("f4") for n in (1, 1, 2)))}
    old = {
        "name": "fc",
        "type": "conv",
        "filters": RANDOM.normal(size=(4, 4, 5, 3)).astype("f4"),
        "biases": np.ones((1, 3), "f4"),
    }
    return {"net": {"layers": cell(conv, norm, {"name": "relu1", "type": "relu"}, old), "meta": {"mean": np.ones((1, 3))}}}


def graph():
    """Return a graph of layers as MatConvNet has it: arrays of structs."""
    params = np.zeros((1, 2), [("name", object), ("value", object), ("learningRate", object)])
    params[0, 0] = ("c_f", RANDOM.normal(size=(3, 3, 1, 2)).astype("f4"), np.ones((1, 1)))
    params[0, 1] = ("c_b", RANDOM.normal(size=(2, 1)).astype("f4"), np.ones((1, 1)))
    layers = np.zeros((1, 2), [("name", object), ("type", object), ("params", object), ("block", object)])
    layers[0, 0] = ("c", "dagnn.Conv", cell("c_f", "c_b"), {"pad": np.ones((1, 4))})
    layers[0, 1] = ("r", "dagnn.ReLU", np.empty((1, 0), object), {"leak": np.zeros((1, 1))})
    return {"net": {"params": params, "layers": layers}}


def main():
    """Write all files, and what the libraries read from those that are not nested."""
    folder = Path(tempfile.mkdtemp())
    plain = variables()
    sparse = {"sparse": scipy.sparse.csc_array([[0, 2.5, 0], [1.0, 0, 0]])}
    for name, packed in (("v5", False), ("v7", True)):
        scipy.io.savemat(folder / f"{name}.mat", {**plain, **sparse}, do_compression=packed, oned_as="row")
        scipy.io.savemat(folder / f"chain-{name}.mat", chain(), do_compression=packed, oned_as="row")
        scipy.io.savemat(folder / f"graph-{name}.mat", graph(), do_compression=packed, oned_as="row")
    for name, content in (("v73", plain), ("chain-v73", chain()), ("graph-v73", graph())):
        hdf5storage.savemat(str(folder / f"{name}.mat"), content, format="7.3", store_python_metadata=False, oned_as="row")
    for name in ("v5", "v73"):
        read = scipy.io.loadmat(folder / "v5.mat") if name == "v5" else mat73.loadmat(folder / "v73.mat")
        arrays = {key: np.asarray(read[key]) for key in plain if key not in ("text", "c", "s")}
        arrays = {key: array for key, array in arrays.items() if array.dtype != object}  # mat73 has none for an empty one
        np.savez(folder / f"{name}.npz", **arrays)
    with tarfile.open(HERE / "matlab.tar.xz", "w:xz") as archive:
        for path in sorted(folder.iterdir()):
            entry = tarfile.TarInfo(path.name)
            entry.size = path.stat().st_size
            archive.addfile(entry, io.BytesIO(path.read_bytes()))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

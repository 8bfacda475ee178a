"""Datasets repeat a few types and shapes: what a message says is worked out once for each content, in a file."""

import h5py
import numpy as np

from steelyard.codecs.hdf5 import datasets
from steelyard.codecs.hdf5.reading import open_hdf5
from steelyard.storage.source import open_path


def test_types_and_shapes_that_many_datasets_share_are_parsed_once(tmp_path, monkeypatch):
    arrays = {f"w{nth}": np.full((2, 3 + nth % 2), nth, ("f4", "i2")[nth % 2]) for nth in range(40)}
    with h5py.File(tmp_path / "net.h5", "w") as file:
        for name, value in arrays.items():
            file[name] = value
    parsed = []
    for name in ("datatype", "growing_dataspace"):
        way = getattr(datasets, name)
        monkeypatch.setattr(datasets, name, lambda fields, way=way: parsed.append(fields.data) or way(fields))
    tensors = open_hdf5(open_path(tmp_path / "net.h5")).tensors
    assert len(parsed) == len({*parsed}) == 4
    assert all(np.array_equal(tensors[name].numpy(), value) for name, value in arrays.items())

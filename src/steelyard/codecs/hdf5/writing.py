"""Writing HDF5: h5py makes the datasets, the numbers are put where it left room for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from steelyard.core.readers import raw_chunks
from steelyard.core.weight import Weight
from steelyard.dtypes import numpy_dtype
from steelyard.errors import FormatError, MissingExtraError, printable
from steelyard.storage.atomic import replacing

try:
    import h5py
    from h5py import h5d, h5p
except ImportError:
    raise MissingExtraError("HDF5", "hdf5") from None

_PLAIN = frozenset("?bhilqBHILQefdFD")
"""The kinds of numbers that NumPy itself has, by their codes."""


def write_datasets(path: Path, datasets: Iterable[tuple[str, Weight]], attributes: Mapping[str, Mapping[str, str]]) -> None:
    """Write datasets, and attributes of groups by their paths, as a file that takes the place of `path` when it is complete.

    What NumPy has no type for is kept as bytes of its size, with the word in the attribute `dtype`, as Keras does.
    Raises `FormatError` for a name that HDF5 cannot hold.
    """
    with replacing(path) as raw:
        put_datasets(raw, path, datasets, attributes)


def put_datasets(
    raw: BinaryIO, path: Path, datasets: Iterable[tuple[str, Weight]], attributes: Mapping[str, Mapping[str, str]]
) -> None:
    """Do so in an open, empty file; `path` is for messages."""
    with h5py.File(raw, "w", libver="earliest") as file:
        places = [(_create(path, file, name, weight), weight) for name, weight in datasets]
        for group, texts in attributes.items():
            (file.require_group(group) if group else file).attrs.update(texts)
    for offset, weight in places:
        if offset is not None:
            raw.seek(offset)
            raw.writelines(raw_chunks(weight))


def _create(path: Path, file: Any, name: str, weight: Weight) -> int | None:
    """Make a dataset with room for its numbers, and return where that is; None where there is nothing left to write."""
    word = numpy_dtype(weight.dtype).newbyteorder("<")
    plain = word.char in _PLAIN
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5d.FILL_TIME_NEVER)
    kind = word if plain else f"V{word.itemsize}"
    # HDF5 leaves no room ahead for a single number
    value = None if weight.shape else np.frombuffer(b"".join(raw_chunks(weight)), kind).reshape(())
    try:
        dataset = file.create_dataset(name, weight.shape, kind, value, dcpl=plan)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise FormatError(str(path), f"HDF5 cannot hold {printable(name)!r}: {error}") from None
    if not plain:
        dataset.attrs["dtype"] = weight.dtype
    offset: int | None = dataset.id.get_offset() if weight.shape and weight.size else None
    return offset

"""Write HDF5: h5py creates the datasets, then the numbers are written into the space that it has allocated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from steelyard.core.readers import each_raw, raw_chunks
from steelyard.core.weight import Weight
from steelyard.dtypes import numpy_dtype
from steelyard.errors import FormatError, MissingExtraError, printable, quoted
from steelyard.storage.atomic import replacing

try:
    import h5py
    from h5py import h5d, h5p
except ImportError:
    raise MissingExtraError("HDF5", "hdf5") from None


def write_datasets(path: Path, datasets: Iterable[tuple[str, Weight]], attributes: Mapping[str, Mapping[str, str]]) -> None:
    """Write datasets, and attributes of groups by their paths, to a file that replaces `path` when it is complete.

    Types that NumPy lacks are written as opaque bytes, with their name in the attribute `dtype`, as Keras does.
    Raises `FormatError` for a name that HDF5 does not allow.
    """
    with replacing(path) as raw:
        put_datasets(raw, path, datasets, attributes)


def put_datasets(
    raw: BinaryIO, path: Path, datasets: Iterable[tuple[str, Weight]], attributes: Mapping[str, Mapping[str, str]]
) -> None:
    """Write the same to an open, empty file. `path` is used in messages."""
    with h5py.File(raw, "w", libver="earliest") as file:
        places = [(_create(path, file, name, weight), weight) for name, weight in datasets]
        for group, texts in attributes.items():
            (file.require_group(group) if group else file).attrs.update(texts)
    offsets = [offset for offset, _ in places if offset is not None]
    for offset, (_, chunks) in zip(offsets, each_raw(weight for offset, weight in places if offset is not None), strict=True):
        raw.seek(offset)
        raw.writelines(chunks)


def _create(path: Path, file: h5py.File, name: str, weight: Weight) -> int | None:
    """Create a dataset, and return the offset of the space for its numbers; None where nothing remains to be written."""
    if weight.dtype == "float128":
        raise FormatError(str(path), f"{printable(name)} is float128, which other machines read otherwise; convert it first")
    word = numpy_dtype(weight.dtype).newbyteorder("<")
    plain = numpy_dtype(weight.dtype).isbuiltin == 1  # the codes of ml_dtypes are not its own: "L" is a float8 and a uint64
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5d.FILL_TIME_NEVER)
    kind = word if plain else f"V{word.itemsize}"
    # HDF5 does not allocate space in advance for a scalar
    value = None if weight.shape else np.frombuffer(b"".join(raw_chunks(weight)), kind).reshape(())
    try:
        dataset = file.create_dataset(name, weight.shape, kind, value, dcpl=plan)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise FormatError(str(path), f"HDF5 cannot hold {quoted(name)}: {error}") from None
    if not plain:
        dataset.attrs["dtype"] = weight.dtype
    offset: int | None = dataset.id.get_offset() if weight.shape and weight.size else None
    return offset

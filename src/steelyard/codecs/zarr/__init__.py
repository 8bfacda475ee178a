"""Arrays of zarr, versions 2 and 3: JSON that describes an array, and its chunks under keys that their places in a grid make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from steelyard.codecs.zarr.cells import Cells
from steelyard.codecs.zarr.metadata import METADATA, array_of
from steelyard.core.roles import layer_of
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import UNKNOWN
from steelyard.errors import FileMissingError, FormatError, UnsafeFileError, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from steelyard.storage.source import Source


class Store(Protocol):
    """Values by keys, such as the files of a folder."""

    def get(self, key: str) -> Source | None:
        """Return the value of a key; None where there is none."""

    def sizes(self, before: str) -> Iterable[int]:
        """Yield the bytes of each value whose key begins so."""


class Files:
    """The files of a folder by their names."""

    __slots__ = ("_folder",)

    def __init__(self, folder: Source) -> None:
        self._folder = folder

    def get(self, key: str) -> Source | None:
        """Return a file; None where there is none."""
        try:
            found = self._folder.beside(key)
        except FileMissingError:
            return None
        return None if found.is_folder else found

    def sizes(self, before: str) -> Iterator[int]:
        """Yield the bytes of each file in a folder, and in those in it."""
        inner = self._folder.beside(before.rstrip("/") or ".")
        for name in inner.names():
            found = inner.beside(name)
            if found.is_folder:
                yield from Files(inner).sizes(name)
            else:
                yield found.size


def array(store: Store, home: Source, path: str, name: str, *, fills: bool) -> Weight:
    """Return the array whose keys begin with `path`, as a weight; one that cannot be read is listed, and refused.

    `fills` says that a chunk without a value has the fill value, as zarr does; otherwise it is missing. `home` is for messages.
    """
    plain = Weight(name=name, shape=(), dtype=UNKNOWN, read=Refused(FormatError(home.name, "")), layer=layer_of(name))
    try:
        described = next((value for each in METADATA if (value := store.get(path + each)) is not None), None)
        if described is None:
            raise FormatError(
                home.name, f"{quoted(name)} is missing: neither {path}{METADATA[0]} nor {path}{METADATA[1]} is there"
            )
        found = array_of(described)
        plain = plain.replace(shape=found.shape, dtype=found.dtype)
        cells = Cells(store, described, path, found, fills=fills)
        cells.require_worth()
    except UnsafeFileError:
        raise
    except FormatError as error:
        return plain.replace(read=Refused(error))
    return plain.replace(read=cells.reader())

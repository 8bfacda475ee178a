"""HDF5 through h5py's low level, confined to the file itself. Importing this without h5py raises `MissingExtraError`.

The link, storage, filters and sizes of a dataset are checked before it is opened for reading. Datasets of soft and
external links, with external or virtual storage, with filters that need a plug-in, or with far more elements than are
stored, are listed but refused. Contiguous datasets are read in place, without h5py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.core.readers import by_rows
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import itemsize, numpy_dtype
from steelyard.errors import FormatError, MissingExtraError, UnsafeFileError, printable
from steelyard.storage.source import Stored

try:
    from h5py import h5a, h5d, h5f, h5fd, h5g, h5l, h5o, h5p, h5pl, h5s, h5z
except ImportError:
    raise MissingExtraError("HDF5", "hdf5") from None

from steelyard.codecs.hdf5.types import NumberType, named_type, number_type, texts

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

PAGE = 1 << 16  # bytes that are read at once where HDF5 requests few
CACHE = 64 << 20  # bytes of the cache of unpacked chunks while a dataset is read in runs

FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
"""The filters that h5py includes; plug-ins are never loaded."""

# h5py raises one of these for damaged bytes.
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError, NotImplementedError)


class Hdf5File:
    """An open HDF5 file: its datasets by path, and the attributes of its groups."""

    __slots__ = ("_file", "source", "tensors")

    def __init__(self, source: Source, file: h5f.FileID, tensors: dict[str, Weight]) -> None:
        self.source = source
        self._file = file
        self.tensors = tensors

    def attribute(self, path: str, name: str) -> str | list[str] | None:
        """Return the text or the list of texts in an attribute of a group; None where there is none."""
        try:
            owner = self._group(path)
            return texts(h5a.open(owner, name.encode())) if h5a.exists(owner, name.encode()) else None
        except _DAMAGE:
            return None

    def has_attribute(self, path: str, name: str) -> bool:
        """Whether a group has an attribute, of any type."""
        try:
            return bool(h5a.exists(self._group(path), name.encode()))
        except _DAMAGE:
            return False

    def _group(self, path: str) -> h5g.GroupID:
        return h5o.open(self._file, path.encode("utf-8", "surrogateescape") or b"/")


class _Link(NamedTuple):
    """A link to an object: its path, the address of the object's header, the open object, or why it is refused."""

    path: str
    address: int
    opened: h5g.GroupID | h5d.DatasetID | None
    refused: str = ""


def open_hdf5(source: Source) -> Hdf5File:
    """List the datasets of a file in the order in which they were written.

    Raises `FormatError` for a file that h5py cannot open.
    """
    with _no_plugins():
        try:
            file = _opened(source)
            datasets = _Datasets(source, file)
            listed = [(link, _weight(datasets, link)) for link in _links(source, file)]
            tensors = {weight.name: weight for weight in _tied(_in_order(listed))}
        except FormatError:
            raise
        except _DAMAGE as error:
            raise FormatError(source.name, f"is damaged, or not an HDF5 file: {_reason(error)}") from None
    return Hdf5File(source, file, tensors)


def by_path(hdf5: Hdf5File) -> list[Weight]:
    """Return every dataset by its full path, as HDF5 spells it: the layer is the group that holds it."""
    return [weight.replace(name=path, layer=path.rpartition("/")[0]) for path, weight in hdf5.tensors.items()]


def _opened(source: Source) -> h5f.FileID:
    """Open a source through Python, which works even where this process has the file open for writing."""
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_fileobj_driver(h5fd.fileobj_driver, _FileLike(source))
    return h5f.open(source.name.encode("utf-8", "surrogateescape"), h5f.ACC_RDONLY, fapl=access)


class _FileLike:
    """A source as a read-only file object for h5py, which reads in pages and never past the end."""

    __slots__ = ("at", "base", "page", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.at = self.base = 0
        self.page = b""

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.source.size)[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: memoryview) -> int:
        view = memoryview(buffer).cast("B")
        count = max(min(len(view), self.source.size - self.at), 0)
        if count > PAGE // 16:
            self.source.fill(self.at, view[:count])
        else:
            view[:count] = self._from_page(count)
        if bytes(view[:4]) == b"GCOL" and _has_loop(bytes(view[:count])):
            view[:4] = bytes(4)  # HDF5 would loop forever in this heap; without its signature, it refuses the heap
        self.at += count
        return count

    def _from_page(self, count: int) -> bytes:
        place = self.at - self.base
        if place < 0 or place + count > len(self.page):
            self.base, place = self.at, 0
            self.page = self.source.read(self.at, min(PAGE, self.source.size - self.at)) if count else b""
        return self.page[place : place + count]

    def flush(self) -> None:
        """Do nothing: this is read-only."""


# Global heap, for texts of variable length: 16 bytes of header with the signature "GCOL", then objects
# 0   2  index; 0 is the free space at the end, whose size includes this header
# 2   6  number of references, reserved
# 8   8  size
# 16     content, padded to a multiple of 8 bytes
def _has_loop(heap: bytes) -> bool:
    """Whether an object of a global heap has a size that makes it its own successor."""
    at = 16
    while at + 16 <= len(heap):
        index, size = int.from_bytes(heap[at : at + 2], "little"), int.from_bytes(heap[at + 8 : at + 16], "little")
        step = size if index == 0 else 16 + (size + 7) // 8 * 8
        if step < 16 or step >> 63:
            return True
        at += step
    return False


@contextmanager
def _no_plugins() -> Iterator[None]:
    """Remove HDF5's search path for filters: a file must not decide which library is loaded."""
    kept = [h5pl.get(at) for at in range(h5pl.size())]
    for _ in kept:
        h5pl.remove(0)
    try:
        yield
    finally:
        for folder in kept:
            h5pl.append(folder)


def _links(source: Source, file: h5f.FileID) -> Iterator[_Link]:
    """Yield all datasets and refused links. A group with several links is entered once."""
    root = h5g.open(file, b"/")
    entered = {h5o.get_info(root).addr}
    stack = [_Link("", 0, root)]
    count = 0
    while stack:
        link = stack.pop()
        if not isinstance(link.opened, h5g.GroupID):
            yield link
            continue
        children = _children(link.path, link.opened)
        count += len(children)
        if count > limits.OBJECTS:
            raise FormatError(source.name, f"holds more than {limits.OBJECTS:,} objects")
        for child in reversed(children):
            group = isinstance(child.opened, h5g.GroupID)
            if not group or child.address not in entered:
                stack.append(child)
            if group:
                entered.add(child.address)


def _in_order(listed: list[tuple[_Link, Weight]]) -> Iterator[tuple[_Link, Weight]]:
    """Sort by the offsets of the data, group by group: HDF5 lists by name, but allocates in the order of writing."""
    first: dict[str, int] = {}
    ranks = [weight.read.offset if isinstance(weight.read, Stored) else link.address for link, weight in listed]
    for rank, (link, _) in zip(ranks, listed, strict=True):
        for group in _groups(link.path):
            first[group] = min(first.get(group, rank), rank)
    keys = [
        [*((first[g], g) for g in _groups(link.path)), (rank, link.path)] for rank, (link, _) in zip(ranks, listed, strict=True)
    ]
    return (pair for _, pair in sorted(zip(keys, listed, strict=True), key=itemgetter(0)))


def _groups(path: str) -> Iterator[str]:
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


def _tied(listed: Iterable[tuple[_Link, Weight]]) -> Iterator[Weight]:
    """Yield the weights; a dataset with several links is tied to its first link."""
    first: dict[int, str] = {}
    for link, weight in listed:
        owner = first.setdefault(link.address, weight.name) if link.opened is not None else weight.name
        yield weight if owner == weight.name else weight.replace(tied=owner)


def _children(path: str, group: h5g.GroupID) -> list[_Link]:
    links: list[tuple[bytes, int]] = []
    group.links.iterate(lambda name, info: links.append((name, info.type)), info=True)  # h5py reuses `info` for all links
    prefix = f"{path}/" if path else ""
    return [_child(group, prefix + name.decode("utf-8", "surrogateescape"), name, kind) for name, kind in links]


def _child(group: h5g.GroupID, path: str, name: bytes, link: int) -> _Link:
    if link != h5l.TYPE_HARD:
        kind = {h5l.TYPE_SOFT: "a soft", h5l.TYPE_EXTERNAL: "an external"}.get(link, "an unknown")
        return _Link(path, sys.maxsize, None, f"is {kind} link, which is not followed")
    try:
        opened = h5o.open(group, name)
        return _Link(path, h5o.get_info(opened).addr, opened)
    except _DAMAGE as error:
        return _Link(path, sys.maxsize, None, f"cannot be opened: {_reason(error)}")


def _weight(datasets: _Datasets, link: _Link) -> Weight:
    if not isinstance(link.opened, h5d.DatasetID):
        return _refused(datasets.source, link.path, link.refused or "is a named type, which has no numbers", NumberType("object"))
    try:
        return _dataset(datasets, link.path, link.opened)
    except FormatError:
        raise
    except _DAMAGE as error:
        return _refused(datasets.source, link.path, f"is damaged: {_reason(error)}", NumberType("object"))


def _dataset(datasets: _Datasets, path: str, dataset: h5d.DatasetID) -> Weight:
    kind = number_type(dataset.get_type())
    if kind.dtype == "object" and kind.encoding.startswith("opaque"):
        kind = named_type(dataset, kind)
    extent = dataset.get_space().get_simple_extent_type()
    shape = (0,) if extent == h5s.NULL else tuple(dataset.shape)
    why = _refusal(dataset, kind, shape)
    if why:
        return _refused(datasets.source, path, why, kind, shape)
    reader = _reader(datasets, path, dataset, kind, shape)
    return Weight(name=path, shape=shape, dtype=kind.dtype, encoding=kind.encoding, read=reader)


def _refused(source: Source, path: str, why: str, number_type: NumberType, shape: tuple[int, ...] = ()) -> Weight:
    kind = UnsafeFileError if "link" in why or "file" in why or "filter" in why else FormatError
    reader = Refused(kind(source.name, f"{printable(path)} {why}"))
    return Weight(name=path, shape=shape, dtype=number_type.dtype, encoding=number_type.encoding, read=reader)


def _refusal(dataset: h5d.DatasetID, kind: NumberType, shape: tuple[int, ...]) -> str:
    """Return why a dataset must not be read; blank where it may."""
    plan = dataset.get_create_plist()
    layout = plan.get_layout()
    if layout == h5d.VIRTUAL:
        return "is a virtual dataset, which may read from another file"
    if layout not in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED):
        return f"has the unknown layout {layout}"
    if plan.get_external_count():
        return "has its numbers in another file"
    if kind.dtype == "object":
        return f"holds {kind.encoding}, not numbers"
    return _packing(plan) or _bomb(dataset, plan, shape)


def _packing(plan: h5p.PropDCID) -> str:
    codes = [plan.get_filter(at)[0] for at in range(plan.get_nfilters())]
    foreign = [code for code in codes if code not in FILTERS or not h5z.filter_avail(code)]
    return f"is packed by the filter {foreign[0]}, which needs a plug-in" if foreign else ""


def _bomb(dataset: h5d.DatasetID, plan: h5p.PropDCID, shape: tuple[int, ...]) -> str:
    width, kept = dataset.get_type().get_size(), dataset.get_storage_size()
    chunk = prod(plan.get_chunk()) * width if plan.get_layout() == h5d.CHUNKED else 0
    claimed = max(prod(shape) * width, chunk)
    return f"claims {claimed:,} bytes, but {kept:,} are stored" if limits.is_bomb(claimed, kept) else ""


def _reader(datasets: _Datasets, path: str, dataset: h5d.DatasetID, kind: NumberType, shape: tuple[int, ...]) -> Reader:
    """Return a reader of contiguous numbers in place, of others row by row through h5py."""
    source, plan = datasets.source, dataset.get_create_plist()
    stored = plan.get_layout() == h5d.CONTIGUOUS and dataset.get_storage_size()
    offset = dataset.get_offset() if stored else None
    plain = kind.dtype != "bool" and not (kind.order == ">" and kind.dtype.startswith("complex"))
    if offset is None or not plain:
        return by_rows(shape, lambda first, last: datasets.rows(path, kind, (first, last)))
    end = offset + prod(shape) * itemsize(kind.dtype)
    if end > source.size:
        why = f"{printable(path)} ends at byte {end:,}, past the end of the file, {source.size:,}"
        return Refused(FormatError(source.name, why, offset))
    return source.numbers(offset, kind.dtype, kind.order)


class _Datasets:
    """Reads datasets of an open file through h5py. The last one stays open, with its cache of unpacked chunks."""

    __slots__ = ("_file", "_last", "source")

    def __init__(self, source: Source, file: h5f.FileID) -> None:
        self.source = source
        self._file = file
        self._last: tuple[str, h5d.DatasetID | None] = ("", None)

    def rows(self, path: str, kind: NumberType, run: tuple[int, int]) -> Array:
        """Return the rows from `run[0]` to `run[1]` of a dataset, which was checked when it was listed."""
        try:
            return _rows(self._open(path), kind, run)
        except _DAMAGE as error:
            raise FormatError(self.source.name, f"{printable(path)} cannot be read: {_reason(error)}") from None

    def _open(self, path: str) -> h5d.DatasetID:
        name, dataset = self._last
        if dataset is None or name != path:
            key = path.encode("utf-8", "surrogateescape")
            access = h5p.create(h5p.DATASET_ACCESS)
            access.set_chunk_cache(10007, max(CACHE, _chunk_bytes(h5d.open(self._file, key))), 1.0)
            dataset = h5d.open(self._file, key, access)
            self._last = path, dataset
        return dataset


def _chunk_bytes(dataset: h5d.DatasetID) -> int:
    """Return the unpacked bytes of a chunk: a chunk larger than the cache would be unpacked again for every run."""
    plan = dataset.get_create_plist()
    return int(prod(plan.get_chunk()) * dataset.get_type().get_size()) if plan.get_layout() == h5d.CHUNKED else 0


def _rows(dataset: h5d.DatasetID, kind: NumberType, run: tuple[int, int]) -> Array:
    import numpy as np

    if run[0] == run[1]:
        return np.zeros(0, numpy_dtype(kind.dtype))
    shape = dataset.shape
    block = np.zeros((run[1] - run[0], *shape[1:]) if shape else (), numpy_dtype(kind.dtype))
    space, memory = dataset.get_space(), h5s.create_simple(block.shape) if shape else h5s.create(h5s.SCALAR)
    if shape:
        space.select_hyperslab((run[0], *(0 for _ in shape[1:])), block.shape)
    # types that NumPy lacks are read without conversion, and so are bools, whose bytes may have any value
    raw: Array = block.view(f"u{block.itemsize}") if kind.as_is else block
    dataset.read(memory, space, raw, dataset.get_type() if kind.as_is else None)
    if kind.dtype == "bool":
        return np.not_equal(raw, 0)
    return block.byteswap() if kind.as_is and kind.order == ">" else block


def _reason(error: BaseException) -> str:
    """Return HDF5's reason without the name of the function before it."""
    text = str(error) or type(error).__name__
    return text.rpartition("(")[2].rstrip(")") if "(" in text else text

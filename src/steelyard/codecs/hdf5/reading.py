"""HDF5 through h5py, so that a file reaches nothing but itself. Importing this without h5py raises `MissingExtraError`.

Before a dataset is touched, its link, storage, filters and sizes are looked at: links that lead elsewhere,
external and virtual storage, filters that need a plug-in, and numbers that were declared but not stored are
listed and refused. Contiguous numbers are then read where they lie, without h5py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.codecs import limits
from steelyard.core.readers import by_rows, refusing
from steelyard.core.weight import Weight
from steelyard.dtypes import itemsize, numpy_dtype
from steelyard.errors import FormatError, MissingExtraError, UnsafeFileError, printable
from steelyard.storage.source import Stored

try:
    from h5py import h5a, h5d, h5f, h5fd, h5g, h5l, h5o, h5p, h5pl, h5s, h5z
except ImportError:
    raise MissingExtraError("HDF5", "hdf5") from None

from steelyard.codecs.hdf5.types import Number, named_type, number, texts

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

PAGE = 1 << 16
"""Bytes that are read at once where HDF5 asks for a few."""
CACHE = 64 << 20
"""Bytes of unpacked chunks that are kept while a dataset is read in runs."""

FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
"""The filters that come with h5py: no plug-in is looked for."""

# Opening fails with one of these, whatever is wrong with the bytes.
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError, NotImplementedError)


class Tree:
    """What an HDF5 file holds: its datasets by path, and the attributes of its groups."""

    __slots__ = ("_file", "source", "tensors")

    def __init__(self, source: Source, file: Any, tensors: dict[str, Weight]) -> None:
        self.source = source
        self._file = file
        self.tensors = tensors

    def attribute(self, path: str, name: str) -> Any:
        """Return the text, or the list of texts, of a group's attribute; None where there is none of that kind."""
        try:
            owner = self._group(path)
            return texts(h5a.open(owner, name.encode())) if h5a.exists(owner, name.encode()) else None
        except _DAMAGE:
            return None

    def has_attribute(self, path: str, name: str) -> bool:
        """Tell whether a group has an attribute, whatever it holds."""
        try:
            return bool(h5a.exists(self._group(path), name.encode()))
        except _DAMAGE:
            return False

    def _group(self, path: str) -> Any:
        return h5o.open(self._file, path.encode("utf-8", "surrogateescape") or b"/")


class _Place(NamedTuple):
    """A link to an object: its path, where its header lies, the opened object, or why it is refused."""

    path: str
    address: int
    opened: Any
    refused: str = ""


def open_tree(source: Source) -> Tree:
    """List the datasets of a file, in the order in which they were written.

    Raises `FormatError` for a file that h5py cannot open.
    """
    with _no_plugins():
        try:
            file = _opened(source)
            shelf = _Shelf(source, file)
            found = [(place, _weight(shelf, place)) for place in _walk(source, file)]
            tensors = {weight.name: weight for weight in _tied(_in_order(found))}
        except FormatError:
            raise
        except _DAMAGE as error:
            raise FormatError(source.name, f"is damaged, or no HDF5 file: {_said(error)}") from None
    return Tree(source, file, tensors)


def by_path(tree: Tree) -> list[Weight]:
    """Return every dataset by its full path, as HDF5 spells it: the layer is the group that holds it."""
    return [weight.replace(name=path, layer=path.rpartition("/")[0]) for path, weight in tree.tensors.items()]


def _opened(source: Source) -> Any:
    """Open a source through Python, so that a file which this process has open elsewhere is no obstacle."""
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_fileobj_driver(h5fd.fileobj_driver, _FileLike(source))
    return h5f.open(source.name.encode("utf-8", "surrogateescape"), h5f.ACC_RDONLY, fapl=access)


class _FileLike:
    """A source as the file object that h5py asks for: it reads only, never past the end, and in pages."""

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

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = max(min(len(view), self.source.size - self.at), 0)
        if count > PAGE // 16:
            self.source.fill(self.at, view[:count])
        else:
            view[:count] = self._from_page(count)
        if bytes(view[:4]) == b"GCOL" and _goes_round(bytes(view[:count])):
            view[:4] = bytes(4)  # the library refuses what has no signature, but would walk this heap for ever
        self.at += count
        return count

    def _from_page(self, count: int) -> bytes:
        place = self.at - self.base
        if place < 0 or place + count > len(self.page):
            self.base, place = self.at, 0
            self.page = self.source.read(self.at, min(PAGE, self.source.size - self.at)) if count else b""
        return self.page[place : place + count]

    def flush(self) -> None:
        """Nothing is written."""


def _goes_round(heap: bytes) -> bool:
    """Tell whether an object of a global heap, where long texts are kept, is its own successor."""
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
    """Leave HDF5 no folder to look for filters in: a file must not decide which library is loaded."""
    kept = [h5pl.get(at) for at in range(h5pl.size())]
    for _ in kept:
        h5pl.remove(0)
    try:
        yield
    finally:
        for folder in kept:
            h5pl.append(folder)


def _walk(source: Source, file: Any) -> Iterator[_Place]:
    """Yield every dataset and every link that is refused; a group that two links reach is entered once."""
    root = h5g.open(file, b"/")
    entered = {h5o.get_info(root).addr}
    stack = [_Place("", 0, root)]
    count = 0
    while stack:
        place = stack.pop()
        if not isinstance(place.opened, h5g.GroupID):
            yield place
            continue
        children = _children(place)
        count += len(children)
        if count > limits.OBJECTS:
            raise FormatError(source.name, f"holds more than {limits.OBJECTS:,} objects")
        for child in reversed(children):
            group = isinstance(child.opened, h5g.GroupID)
            if not group or child.address not in entered:
                stack.append(child)
            if group:
                entered.add(child.address)


def _in_order(found: list[tuple[_Place, Weight]]) -> Iterator[tuple[_Place, Weight]]:
    """Sort by where the numbers lie, group by group: HDF5 lists by name, but gives out room in the order of writing."""
    first: dict[str, int] = {}
    ranks = [weight.read.offset if isinstance(weight.read, Stored) else place.address for place, weight in found]
    for rank, (place, _) in zip(ranks, found, strict=True):
        for group in _groups(place.path):
            first[group] = min(first.get(group, rank), rank)
    keys = [
        [*((first[g], g) for g in _groups(place.path)), (rank, place.path)] for rank, (place, _) in zip(ranks, found, strict=True)
    ]
    return (entry for _, entry in sorted(zip(keys, found, strict=True), key=itemgetter(0)))


def _groups(path: str) -> Iterator[str]:
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


def _tied(found: Iterable[tuple[_Place, Weight]]) -> Iterator[Weight]:
    """A dataset that two links reach is tied to the first of them."""
    first: dict[int, str] = {}
    for place, weight in found:
        owner = first.setdefault(place.address, weight.name) if place.opened is not None else weight.name
        yield weight if owner == weight.name else weight.replace(tied=owner)


def _children(place: _Place) -> list[_Place]:
    group = place.opened
    links: list[tuple[bytes, int]] = []
    group.links.iterate(lambda name, info: links.append((name, info.type)), info=True)  # `info` is used anew for each
    prefix = f"{place.path}/" if place.path else ""
    return [_child(group, prefix + name.decode("utf-8", "surrogateescape"), name, kind) for name, kind in links]


def _child(group: Any, path: str, name: bytes, link: int) -> _Place:
    if link != h5l.TYPE_HARD:
        kind = {h5l.TYPE_SOFT: "a soft", h5l.TYPE_EXTERNAL: "an external"}.get(link, "an unknown")
        return _Place(path, sys.maxsize, None, f"is {kind} link, which is not followed")
    try:
        opened = h5o.open(group, name)
        return _Place(path, h5o.get_info(opened).addr, opened)
    except _DAMAGE as error:
        return _Place(path, sys.maxsize, None, f"cannot be opened: {_said(error)}")


def _weight(shelf: _Shelf, place: _Place) -> Weight:
    if not isinstance(place.opened, h5d.DatasetID):
        return _refused(shelf.source, place.path, place.refused or "is a named type, which holds no numbers", Number("object"))
    try:
        return _dataset(shelf, place.path, place.opened)
    except FormatError:
        raise
    except _DAMAGE as error:
        return _refused(shelf.source, place.path, f"is damaged: {_said(error)}", Number("object"))


def _dataset(shelf: _Shelf, path: str, dataset: Any) -> Weight:
    found = number(dataset.get_type())
    if found.dtype == "object" and found.encoding.startswith("opaque"):
        found = named_type(dataset, found)
    extent = dataset.get_space().get_simple_extent_type()
    shape = (0,) if extent == h5s.NULL else tuple(dataset.shape)
    why = _reason(dataset, found, shape)
    if why:
        return _refused(shelf.source, path, why, found, shape)
    reader = _reader(shelf, path, dataset, found, shape)
    return Weight(name=path, shape=shape, dtype=found.dtype, encoding=found.encoding, read=reader)


def _refused(source: Source, path: str, why: str, found: Number, shape: tuple[int, ...] = ()) -> Weight:
    kind = UnsafeFileError if "link" in why or "file" in why or "filter" in why else FormatError
    reader = refusing(kind(source.name, f"{printable(path)} {why}"))
    return Weight(name=path, shape=shape, dtype=found.dtype, encoding=found.encoding, read=reader)


def _reason(dataset: Any, found: Number, shape: tuple[int, ...]) -> str:
    """Say why a dataset must not be read, or nothing."""
    plan = dataset.get_create_plist()
    layout = plan.get_layout()
    if layout == h5d.VIRTUAL:
        return "is a virtual dataset, which may read from another file"
    if layout not in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED):
        return f"has the unknown layout {layout}"
    if plan.get_external_count():
        return "keeps its numbers in another file"
    if found.dtype == "object":
        return f"holds {found.encoding}, not numbers"
    return _packing(plan) or _bomb(dataset, plan, shape)


def _packing(plan: Any) -> str:
    codes = [plan.get_filter(at)[0] for at in range(plan.get_nfilters())]
    foreign = [code for code in codes if code not in FILTERS or not h5z.filter_avail(code)]
    return f"is packed by the filter {foreign[0]}, which would need a plug-in" if foreign else ""


def _bomb(dataset: Any, plan: Any, shape: tuple[int, ...]) -> str:
    width, kept = dataset.get_type().get_size(), dataset.get_storage_size()
    chunk = prod(plan.get_chunk()) * width if plan.get_layout() == h5d.CHUNKED else 0
    claimed = max(prod(shape) * width, chunk)
    return f"claims {claimed:,} bytes, but {kept:,} are stored" if limits.is_bomb(claimed, kept) else ""


def _reader(shelf: _Shelf, path: str, dataset: Any, found: Number, shape: tuple[int, ...]) -> Reader:
    """Read plain numbers where they lie, all others row by row through h5py."""
    source, plan = shelf.source, dataset.get_create_plist()
    stored = plan.get_layout() == h5d.CONTIGUOUS and dataset.get_storage_size()
    offset = dataset.get_offset() if stored else None
    plain = found.dtype != "bool" and not (found.order == ">" and found.dtype.startswith("complex"))
    if offset is None or not plain:
        return by_rows(shape, lambda first, last: shelf.rows(path, found, (first, last)))
    end = offset + prod(shape) * itemsize(found.dtype)
    if end > source.size:
        why = f"{printable(path)} ends at byte {end:,}, past the end of the file, {source.size:,}"
        return refusing(FormatError(source.name, why, offset))
    return source.numbers(offset, found.dtype, found.order)


class _Shelf:
    """The datasets of an open file that h5py must read: the last one stays open, with its unpacked chunks."""

    __slots__ = ("_file", "_last", "source")

    def __init__(self, source: Source, file: Any) -> None:
        self.source = source
        self._file = file
        self._last: tuple[str, Any] = ("", None)

    def rows(self, path: str, found: Number, run: tuple[int, int]) -> Array:
        """Return the rows from `run[0]` to `run[1]` of a dataset, which was looked at when it was listed."""
        try:
            return _rows(self._open(path), found, run)
        except _DAMAGE as error:
            raise FormatError(self.source.name, f"{printable(path)} cannot be read: {_said(error)}") from None

    def _open(self, path: str) -> Any:
        name, dataset = self._last
        if dataset is None or name != path:
            key = path.encode("utf-8", "surrogateescape")
            access = h5p.create(h5p.DATASET_ACCESS)
            access.set_chunk_cache(10007, max(CACHE, _chunk_bytes(h5d.open(self._file, key))), 1.0)
            dataset = h5d.open(self._file, key, access)
            self._last = path, dataset
        return dataset


def _chunk_bytes(dataset: Any) -> int:
    """Return what a chunk takes unpacked: one that is not kept would be unpacked anew for every run."""
    plan = dataset.get_create_plist()
    return int(prod(plan.get_chunk()) * dataset.get_type().get_size()) if plan.get_layout() == h5d.CHUNKED else 0


def _rows(dataset: Any, found: Number, run: tuple[int, int]) -> Array:
    import numpy as np

    if run[0] == run[1]:
        return np.zeros(0, numpy_dtype(found.dtype))
    shape = dataset.shape
    block = np.zeros((run[1] - run[0], *shape[1:]) if shape else (), numpy_dtype(found.dtype))
    space, memory = dataset.get_space(), h5s.create_simple(block.shape) if shape else h5s.create(h5s.SCALAR)
    if shape:
        space.select_hyperslab((run[0], *(0 for _ in shape[1:])), block.shape)
    # what NumPy has no type for is read as it lies; the bytes of a bool may be any
    raw: Array = block.view(f"u{block.itemsize}") if found.as_is else block
    dataset.read(memory, space, raw, dataset.get_type() if found.as_is else None)
    if found.dtype == "bool":
        return np.not_equal(raw, 0)
    return block.byteswap() if found.as_is and found.order == ">" else block


def _said(error: BaseException) -> str:
    """Return the reason in HDF5's words without its first half, which is the name of a function."""
    text = str(error) or type(error).__name__
    return text.rpartition("(")[2].rstrip(")") if "(" in text else text

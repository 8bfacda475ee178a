"""The items of a distributed checkpoint: each is a file of torch, or a tensor of a safetensors image, in a larger file."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.codecs.chunks import Chunk, joined, tiles
from steelyard.codecs.limits import is_bomb
from steelyard.codecs.pickle.arrays import PickledTensor, refused
from steelyard.codecs.torch.archive import open_archive
from steelyard.dtypes import UNKNOWN, itemsize
from steelyard.errors import FileMissingError, FormatError, first_of, printable, quoted

if TYPE_CHECKING:
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.core.weight import Array, Reader
    from steelyard.core.weights import Weights
    from steelyard.formats.dcp.metadata import Info, Shape, Tensor
    from steelyard.storage.source import Source

ZIP = b"PK\3\4"


class Files:
    """The files of a checkpoint, each opened once; `missing` counts the items of each that is not there."""

    __slots__ = ("_folder", "_images", "_opened", "missing")

    def __init__(self, folder: Source, names: list[str]) -> None:
        self._folder = folder
        self._images: dict[tuple[str, int], Weights] = {}
        self._opened: dict[str, Source | None] = {}
        self.missing: dict[str, int] = {}
        for name in names:
            try:
                self._opened[name] = folder.beside(name)
            except FileMissingError:
                self._opened[name] = None

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(source.size for source in self._opened.values() if source is not None)

    def lacks(self, info: Info) -> bool:
        """Whether the file of an item is missing, which is then counted."""
        if self._opened[info.file] is not None:
            return False
        self.missing[info.file] = self.missing.get(info.file, 0) + 1
        return True

    def end(self, info: Info) -> int:
        """Return the size of the file of an item, which is not missing."""
        source = self._opened[info.file]
        return 0 if source is None else source.size

    def source(self, info: Info) -> Source:
        """Return the file of an item. Raises `FormatError` if it is missing, or if its bytes must first be unpacked."""
        source = self._opened[info.file]
        if source is None:
            raise FormatError(self._folder.name, f"the file {quoted(info.file)} is missing")
        if info.transforms:
            raise FormatError(source.name, f"its items passed through an extension, {info.transforms}, which is not read")
        return source

    def value(self, info: Info) -> Pickled:
        """Return a value that is no tensor, which is a file of torch of its own."""
        archive = open_archive(self.source(info).part(info.offset, info.length))
        for reference in archive.references:
            reference.home = archive.decoder
        return archive.root

    def tensor(self, name: str, info: Info) -> tuple[Shape, str, Reader]:
        """Return shape, type and reader of a chunk."""
        source = self.source(info)
        if source.read(info.offset, min(4, source.size - info.offset)) != ZIP:
            weight = self._image(info, source).get(name)
            if weight is None:
                raise FormatError(source.name, f"{quoted(name)} is not in the safetensors image", info.offset)
            return weight.shape, weight.dtype, weight.read
        archive = open_archive(source.part(info.offset, info.length))
        found = archive.decoder.decode(archive.root)
        if found is None:
            raise FormatError(source.name, f"the chunk of {quoted(name)} is not a tensor", info.offset)
        return found.shape, found.dtype, found.read

    # All tensors of a file form one image of safetensors, where the items that are no tensors end. The offset of each of these
    # tensors is that of the image, and the length is its own.
    def _image(self, info: Info, source: Source) -> Weights:
        from steelyard.formats import part_in

        key = info.file, info.offset
        if key not in self._images:
            self._images[key] = part_in(source.part(info.offset, source.size - info.offset, "image.safetensors"))
        return self._images[key]


class Lazy:
    """The reader of a chunk, whose place in its file is looked up at the first read."""

    __slots__ = ("_dtype", "_files", "_found", "_info", "_name", "_shape")

    def __init__(self, files: Files, name: str, info: Info, shape: Shape, dtype: str) -> None:
        self._files = files
        self._name = name
        self._info = info
        self._shape = shape
        self._dtype = dtype
        self._found: Reader | None = None

    def __call__(self, start: int, stop: int) -> Array:
        if self._found is None:
            shape, dtype, read = self._files.tensor(self._name, self._info)
            if (shape, dtype) != (self._shape, self._dtype):
                source = self._files.source(self._info)
                what = f"is {list(shape)} of {dtype}; .metadata has {list(self._shape)} of {self._dtype}"
                raise FormatError(source.name, f"the chunk of {quoted(self._name)} {what}", self._info.offset)
            self._found = read
        return self._found(start, stop)


def pickled(metadata: Source, files: Files, name: str, tensor: Tensor) -> PickledTensor:
    """Return a tensor whose chunks are read on request; one that cannot be read whole is listed and refused."""
    shape, dtype, word, chunks = tensor
    if dtype == UNKNOWN:
        return refused(metadata, f"{quoted(name)} is of type {printable(word, 60) or 'unknown'}, which is not read", shape)
    lost = sorted({info.file for _, _, info in chunks if info is not None and files.lacks(info)})
    if lost:
        which = first_of(lost, 3, quoted)
        verb = "is" if len(lost) == 1 else "are"
        return refused(metadata, f"{quoted(name)} is in {which}, which {verb} missing in the folder", shape, dtype)
    parts: list[Chunk] = []
    for offsets, lengths, info in chunks:
        if info is None or info.length < prod(lengths) * itemsize(dtype):
            what = "has no place in any file" if info is None else f"has {info.length:,} bytes, too few for its shape"
            return refused(metadata, f"the chunk of {quoted(name)} at {list(offsets)} {what}", shape, dtype)
        if files.end(info) < info.offset + info.length:
            what = (
                f"needs byte {info.offset + info.length:,} of {quoted(info.file)}, which has {files.end(info):,} (partial copy?)"
            )
            return refused(metadata, f"{quoted(name)} {what}", shape, dtype)
        parts.append(Chunk(offsets, lengths, Lazy(files, name, info, lengths, dtype)))
    if is_bomb(prod(shape) * itemsize(dtype), files.size) or not tiles(shape, parts, Budget(metadata)):
        return refused(metadata, f"the chunks of {quoted(name)} do not cover it, each element once", shape, dtype)
    return PickledTensor(shape, dtype, joined(shape, dtype, parts))

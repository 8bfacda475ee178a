"""The three kinds of heaps of HDF5: local ones for names, global ones for texts of varying length, fractal ones for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.hdf5.btrees import records
from steelyard.codecs.hdf5.checksum import lookup3
from steelyard.codecs.hdf5.space import Fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.codecs.hdf5.space import Space

_HUGE_INDIRECT = 1  # the type of the tree that maps numbers to huge objects


# Local heap: "HEAP", version 1, reserved 3, bytes of the data, offset of the first free block, address of the data
def local_heap(space: Space, address: int) -> Fields:
    """Return the data of the heap of an old group, with the names of its members."""
    head = space.fields(address, 8 + 2 * space.length_bytes + space.address_bytes, b"HEAP")
    head.take(4)
    length = head.length()
    head.length()
    start = head.existing_offset()
    return Fields(space, space.read(start, length), start)


# Global heap: 16 bytes of header with the signature "GCOL", then objects
# 0   2  index; 0 is the free space at the end, whose size includes this header
# 2   6  number of references, reserved
# 8   n  size
#        content, padded to a multiple of 8 bytes
class GlobalHeap:
    """The texts of varying length in one heap.

    It does not refer to the space, which keeps it: a reference cycle would keep the file open.
    """

    __slots__ = ("_objects",)

    def __init__(self, space: Space, address: int) -> None:
        head = space.fields(address, 8 + space.length_bytes, b"GCOL")
        head.take(4)
        content = space.fields(address, head.length())
        content.take(head.at)
        self._objects: dict[int, tuple[int, int]] = {}
        while content.rest() >= 8 + space.length_bytes:
            index = content.uint(2)
            content.take(6)
            size = content.length()
            if index == 0:
                break
            self._objects[index] = address + content.at, size
            content.take(min(-(-size // 8) * 8, content.rest()))

    @classmethod
    def at(cls, space: Space, address: int) -> GlobalHeap:
        """Return the heap at an address, which is read once."""
        if address not in space.heaps:
            space.heaps[address] = cls(space, address)
        return space.heaps[address]

    def text(self, space: Space, index: int, length: int) -> bytes:
        """Return the first `length` bytes of an object. Raises `FormatError` for one that is missing or shorter."""
        address, size = self._objects.get(index, (0, -1))
        if length > size:
            raise space.error("is damaged: a text is not in its heap")
        return space.read(address, length)


class FractalHeap:
    """A heap of links or attributes. Objects are managed (in blocks), tiny (in their identifier) or huge (on their own).

    0   4  "FRHP"                                       address of the tree of huge objects
    4   1  version                                   n  free bytes, address of their manager, four sizes of managed objects
    5   2  bytes of an identifier                    n  bytes and number of huge, of tiny objects
    7   2  bytes of filters; 0 where not filtered    2  blocks in a row
    9   1  flags; 2: blocks have checksums           n  bytes of a block of the first row, and of the largest direct block
    10  4  largest managed object                    2  bits of an offset in the heap
    14  n  next number of a huge object              2  rows at first; address of the root block; 2 rows of the root block
    """

    __slots__ = (
        "_address",
        "_blocks",
        "_direct_bytes",
        "_has_checksums",
        "_huge",
        "_huge_places",
        "_length_bytes",
        "_offset_bytes",
        "_root",
        "_rows",
        "_start",
        "_width",
        "space",
    )

    def __init__(self, space: Space, address: int) -> None:
        self.space = space
        self._address = address
        head = space.checked(address, 22 + 12 * space.length_bytes + 3 * space.address_bytes + 4, b"FRHP")
        head.take(3)
        if head.uint(2):
            raise space.error("keeps its names in a packed heap, which is not supported", address)
        self._has_checksums = bool(head.uint() & 2)
        largest = head.uint(4)
        head.length()
        self._huge = head.offset()
        head.take(space.length_bytes + space.address_bytes + 8 * space.length_bytes)
        self._width, self._start, self._direct_bytes = head.uint(2), head.length(), head.length()
        bits = head.uint(2)
        self._offset_bytes = (bits + 7) // 8
        within_block = (self._direct_bytes.bit_length() - 1 + 7) // 8
        self._length_bytes = min(within_block, (largest.bit_length() + 7) // 8)
        head.take(2)
        self._root, self._rows = head.offset(), head.uint(2)
        self._blocks: dict[int, list[int | None]] = {}
        self._huge_places: dict[int, tuple[int, int]] = {}
        if not self._width or not self._start or self._direct_bytes < self._start:
            raise space.error("is damaged: a heap without blocks", address)

    def object(self, identifier: bytes) -> bytes:
        """Return the object with this identifier."""
        kind = identifier[0] >> 4 & 3
        if kind == 2:  # tiny: the length is in the first byte
            return identifier[1 : 2 + (identifier[0] & 15)]
        fields = Fields(self.space, identifier, self._address, 1)
        if kind == 1:
            return self._huge_object(int.from_bytes(identifier[1:], "little"))
        offset, length = fields.uint(self._offset_bytes), fields.uint(self._length_bytes)
        block, start, size = self._block(offset)
        if offset - start + length > size:
            raise self.space.error("is damaged: an object reaches past the end of its block", block)
        return self.space.read(block + offset - start, length)

    def _huge_object(self, number: int) -> bytes:
        """Return an object by its number. Record: address, length, number."""
        if not self._huge_places and self._huge is not None:
            for record in records(self.space, self._huge, (_HUGE_INDIRECT,)):
                place = record.existing_offset(), record.length()
                self._huge_places.setdefault(record.length(), place)
        if number not in self._huge_places:
            raise self.space.error("is damaged: a huge object is not in its heap", self._address)
        address, length = self._huge_places[number]
        if length > limits.JSON:
            raise self.space.error(f"claims {length:,} bytes for a text", address)
        return self.space.read(address, length)

    # Direct block: "FHDB"; indirect block: "FHIB", version 1, address of the heap, offset in the heap, then the addresses of
    # its blocks, row by row, and a checksum. Blocks of the first two rows have the same size, those of each further row twice
    # as much. A direct block may have its checksum before the objects, computed as if that were zero.
    def _block(self, offset: int) -> tuple[int, int, int]:
        """Return the address of the direct block with this offset in the heap, the offset where it starts, and its size."""
        address, rows, start, size = self._root, self._rows, 0, self._start
        while address is not None and rows:
            row, column, first, size = self._place(offset - start)
            blocks = self._indirect(address, rows)
            place = row * self._width + column
            address = blocks[place] if place < len(blocks) else None
            start += first
            rows = 0 if size <= self._direct_bytes else self._rows_of(size)
        if address is None or not start <= offset < start + size:
            raise self.space.error("is damaged: an object in no block of its heap", self._address)
        self._check(address, size)
        return address, start, size

    def _indirect(self, address: int, rows: int) -> list[int | None]:
        if address not in self._blocks:
            before, count = 5 + self.space.address_bytes + self._offset_bytes, rows * self._width
            fields = self.space.checked(address, before + count * self.space.address_bytes + 4, b"FHIB")
            fields.take(before - 4)
            self._blocks[address] = [fields.offset() for _ in range(count)]
        return self._blocks[address]

    def _check(self, address: int, size: int) -> None:
        """Check a direct block, once."""
        if address in self._blocks:
            return
        self._blocks[address] = []
        block = self.space.fields(address, size, b"FHDB").data
        at = 5 + self.space.address_bytes + self._offset_bytes
        if self._has_checksums and lookup3(block[:at] + bytes(4) + block[at + 4 :]) != int.from_bytes(
            block[at : at + 4], "little"
        ):
            raise self.space.error("is damaged: a structure does not match its checksum", address)

    def _place(self, offset: int) -> tuple[int, int, int, int]:
        """Return the row, the column, the start and the size of the block with an offset in an indirect block."""
        row = max((offset // (self._start * self._width)).bit_length(), 0)
        size = self._start << max(row - 1, 0)
        first = (self._start * self._width << (row - 1)) if row else 0
        column = (offset - first) // size
        return row, column, first + column * size, size

    def _rows_of(self, size: int) -> int:
        """Return the rows of an indirect block whose blocks span `size` bytes."""
        return (size // (self._start * self._width)).bit_length()


# Info of links or attributes in a heap: version 1; flags, 1: largest order, 2: tree by order; address of the heap, of the tree
# by name
def in_heap(info: Fields | None, order_bytes: int, kind: int) -> Iterator[tuple[FractalHeap, Fields]]:
    """Yield the heap and each record of the tree by name, which has an identifier in it; nothing where there is no heap.

    `order_bytes` are those of the largest order, `kind` is the type of the tree.
    """
    if info is None:
        return
    info.uint()
    info.take(order_bytes if info.uint() & 1 else 0)
    address, tree = info.offset(), info.offset()
    if address is None or tree is None:
        return
    heap = FractalHeap(info.space, address)
    for record in records(info.space, tree, (kind,)):
        yield heap, record

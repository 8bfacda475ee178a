"""The arrays that index chunks by their number: fixed ones, and extensible ones, whose blocks double as they grow.

Their header has the type 1 (0: addresses, 1: addresses, packed sizes and filters left out) and the bytes of an element.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs.hdf5.space import Fields

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.space import Space

_CHECKSUM = 4  # bytes


# Fixed array: "FAHD", version 1, type 1, bytes of an element 1, bits of the elements of a page 1, number of elements, address
# of the block, checksum. Block: "FADB", version 1, type 1, address of the header, elements, checksum; of more elements
# than a page has: bits of the pages that exist, checksum, then pages of elements, each with a checksum
def fixed_array(space: Space, address: int) -> Iterator[tuple[int, Fields]]:
    """Yield the elements with their numbers."""
    head = space.checked(address, 8 + space.length_bytes + space.address_bytes + _CHECKSUM, b"FAHD")
    head.take(2)
    width, bits, count = head.uint(), head.uint(), head.length()
    block = head.offset()
    _check_size(space, address, width, count)
    if block is None:
        return
    page, before = 1 << bits, 6 + space.address_bytes
    if count <= page:
        fields = space.checked(block, before + count * width + _CHECKSUM, b"FADB")
        fields.take(before - 4)
        yield from _elements(fields, 0, count, width)
        return
    pages = -(-count // page)
    fields = space.checked(block, before + (pages + 7) // 8 + _CHECKSUM, b"FADB")
    fields.take(before - 4)
    yield from _pages(space, block + len(fields.data), fields.take((pages + 7) // 8), (0, count, page), width)


def _pages(space: Space, address: int, exist: bytes, counts: tuple[int, int, int], width: int) -> Iterator[tuple[int, Fields]]:
    """Yield the elements of pages that follow each other; `counts` is the number of the first, of all, and of one page."""
    first, count, page = counts
    for number in range(-(-count // page)):
        held = min(page, count - number * page)
        if exist[number // 8] & 128 >> number % 8:
            fields = space.checked(address, held * width + _CHECKSUM, b"")
            yield from _elements(fields, first + number * page, held, width)
        address += page * width + _CHECKSUM


def _elements(fields: Fields, first: int, count: int, width: int) -> Iterator[tuple[int, Fields]]:
    for number in range(first, first + count):
        yield number, Fields(fields.space, fields.take(width), fields.address)


def _check_size(space: Space, address: int, width: int, count: int) -> None:
    if width < space.address_bytes:
        raise space.error("is damaged: an index of chunks has elements that are too small", address)


# Extensible array: "EAHD", version 1, type 1, bytes of an element 1, bits of their number 1, elements in the index block 1,
# least elements of a data block 1, least addresses of a super block 1, bits of the elements of a page 1, six counts,
# address of the index block, checksum. Index block: "EAIB", version 1, type 1, address of the header, elements, addresses
# of data blocks, addresses of super blocks, checksum. Super block: "EASB", version 1, type 1, address of the header, number of
# its first element, bits of the pages that exist, addresses of data blocks, checksum. Data block: "EADB", the same, elements,
# checksum, or pages after it. Super block n has 2 ** (n // 2) data blocks of 2 ** ((n + 1) // 2) times the least elements.
class _Extensible:
    """The parameters of an extensible array."""

    __slots__ = ("bits", "count", "in_index", "index", "least", "least_addresses", "page", "space", "width")

    def __init__(self, space: Space, address: int) -> None:
        self.space = space
        head = space.checked(address, 12 + 6 * space.length_bytes + space.address_bytes + _CHECKSUM, b"EAHD")
        head.take(2)
        self.width, self.bits, self.in_index, self.least, self.least_addresses = (head.uint() for _ in range(5))
        self.page = 1 << head.uint()
        head.take(4 * space.length_bytes)
        self.count = head.length()  # one past the largest number that was set
        head.length()
        self.index = head.offset()
        _check_size(space, address, self.width, self.count)
        powers = all(x and x & (x - 1) == 0 for x in (self.least, self.least_addresses))
        if not powers or self.bits > 64:  # bits of a number
            raise space.error("is damaged: an array of chunks with impossible blocks", address)

    @property
    def number_bytes(self) -> int:
        return (self.bits + 7) // 8

    def blocks(self, number: int) -> tuple[int, int]:
        """Return how many data blocks a super block has, and how many elements each of them."""
        return 1 << number // 2, (1 << (number + 1) // 2) * self.least


def extensible_array(space: Space, address: int) -> Iterator[tuple[int, Fields]]:
    """Yield the elements with their numbers."""
    array = _Extensible(space, address)
    if array.index is None:
        return
    supers = 1 + array.bits - (array.least.bit_length() - 1)
    in_index = 2 * (array.least_addresses.bit_length() - 1)  # super blocks whose data blocks the index block refers to
    direct = 2 * (array.least_addresses - 1)
    addresses = direct + max(supers - in_index, 0)
    size = 6 + space.address_bytes + array.in_index * array.width + addresses * space.address_bytes + _CHECKSUM
    fields = space.checked(array.index, size, b"EAIB")
    fields.take(2 + space.address_bytes)
    yield from _elements(fields, 0, min(array.in_index, array.count), array.width)
    fields.take(max(array.in_index - array.count, 0) * array.width)
    first = array.in_index
    for number in range(min(in_index, supers)):
        count, held = array.blocks(number)
        for _ in range(count):
            yield from _data_block(array, fields.offset(), first, held, b"")
            first += held
    for number in range(in_index, supers):
        count, held = array.blocks(number)
        yield from _super_block(array, fields.offset(), first, number)
        first += count * held


def _super_block(array: _Extensible, address: int | None, first: int, number: int) -> Iterator[tuple[int, Fields]]:
    if address is None or first >= array.count:
        return
    space, (count, held) = array.space, array.blocks(number)
    bitmap = (-(-held // array.page) + 7) // 8 if held > array.page else 0  # of each data block
    before = 6 + space.address_bytes + array.number_bytes
    fields = space.checked(address, before + count * (bitmap + space.address_bytes) + _CHECKSUM, b"EASB")
    fields.take(before - 4)
    maps = [fields.take(bitmap) for _ in range(count)]
    for exist in maps:
        yield from _data_block(array, fields.offset(), first, held, exist)
        first += held


def _data_block(array: _Extensible, address: int | None, first: int, held: int, exist: bytes) -> Iterator[tuple[int, Fields]]:
    if address is None or first >= array.count:
        return
    space, before = array.space, 6 + array.space.address_bytes + array.number_bytes
    if held > array.page:
        space.checked(address, before + _CHECKSUM, b"EADB")
        yield from _pages(space, address + before + _CHECKSUM, exist, (first, held, array.page), array.width)
        return
    fields = space.checked(address, before + held * array.width + _CHECKSUM, b"EADB")
    fields.take(before - 4)
    yield from _elements(fields, first, held, array.width)

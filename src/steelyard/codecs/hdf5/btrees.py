"""The two kinds of B-trees of HDF5: version 1 for old groups and chunks, version 2 for large groups, attributes and chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.space import Fields, Space

GROUP, CHUNKS = 0, 1  # the types of a tree of version 1


# Node of version 1
# 0   4  "TREE"
# 4   1  type: 0 of a group, 1 of chunks
# 5   1  level; 0 for leaves
# 6   2  number of children
# 8   n  addresses of the left and right neighbour
#        key, address of a child, key, address of a child, ... key
def leaves(space: Space, address: int, kind: int, key_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Yield the children of the leaves of a tree of version 1, each with the key before it."""
    stack, entered = [(address, -1)], {address}
    while stack:
        address, expected = stack.pop()
        head = space.fields(address, 8, b"TREE")
        found, level, count = head.uint(), head.uint(), head.uint(2)
        if found != kind or expected not in (-1, level):
            raise space.error("is damaged: a node of a B-tree has another type or level than its parent says", address)
        width = key_bytes + space.address_bytes
        fields = space.fields(address + 8 + 2 * space.address_bytes, count * width)
        children = [(fields.take(key_bytes), fields.existing_offset()) for _ in range(count)]
        if level == 0:
            yield from children
            continue
        for _, child in reversed(children):
            if child in entered:
                raise space.error("is damaged: a B-tree refers to the same node twice", child)
            entered.add(child)
            stack.append((child, level - 1))


class _Level(NamedTuple):
    """A level of a tree of version 2: its most records, and the bytes of the number of all records below a node."""

    most: int
    most_below: int
    below_bytes: int


# Header of version 2: "BTHD", version 1, type 1, node size 4, record size 2, depth 2, when to split and to merge 2,
# address of the root, number of its records 2, number of all records, checksum 4
# Internal node: "BTIN", leaf: "BTLF"; version 1, type 1, records, then of an internal node for each child: address,
# number of its records, and number of all records below it unless it is a leaf; checksum 4. A node takes the whole node size.
def records(space: Space, address: int, kinds: tuple[int, ...]) -> Iterator[Fields]:
    """Yield the records of a tree of version 2, in order. Raises `FormatError` for a tree of another type than `kinds`."""
    head = space.checked(address, 22 + space.address_bytes + space.length_bytes, b"BTHD")
    head.uint()
    kind, node_bytes, record_bytes, depth = head.uint(), head.uint(4), head.uint(2), head.uint(2)
    head.take(2)
    root, count = head.offset(), head.uint(2)
    if kind not in kinds or depth > 32 or not record_bytes or node_bytes < 10 + record_bytes:
        raise space.error("is damaged: a B-tree of an unexpected type or size", address)
    if root is None:
        return
    levels = _levels(space, node_bytes, record_bytes, depth)
    stack, entered = [(root, count, depth)], {root}
    while stack:
        node, count, level = stack.pop()
        if count > levels[level].most:
            raise space.error("is damaged: a node of a B-tree claims more records than it has room for", node)
        size = 6 + count * record_bytes + (count + 1) * _pointer_bytes(space, levels, level) * (level > 0) + 4
        fields = space.checked(node, size, b"BTIN" if level else b"BTLF")
        fields.uint()
        if fields.uint() != kind:
            raise space.error("is damaged: a node of a B-tree has another type than its tree", node)
        for _ in range(count):
            yield _record(fields, record_bytes)
        for _ in range(count + 1 if level else 0):
            child = fields.existing_offset(), fields.uint(_width(levels[0].most)), level - 1
            fields.take(levels[level - 1].below_bytes if level > 1 else 0)
            if child[0] in entered:
                raise space.error("is damaged: a B-tree refers to the same node twice", child[0])
            entered.add(child[0])
            stack.append(child)


def _record(fields: Fields, size: int) -> Fields:
    from steelyard.codecs.hdf5.space import Fields

    return Fields(fields.space, fields.take(size), fields.address)


def _levels(space: Space, node_bytes: int, record_bytes: int, depth: int) -> list[_Level]:
    """Return what fits into the nodes of each level, which fixes the width of the numbers in the level above."""
    most = (node_bytes - 10) // record_bytes
    levels = [_Level(most, most, 0)]
    for level in range(1, depth + 1):
        pointer = _pointer_bytes(space, levels, level)
        most = max(node_bytes - 10 - pointer, 0) // (record_bytes + pointer)
        below = (most + 1) * levels[-1].most_below + most
        levels.append(_Level(most, below, _width(below)))
    return levels


def _pointer_bytes(space: Space, levels: list[_Level], level: int) -> int:
    below = levels[level - 1].below_bytes if level > 1 else 0
    return space.address_bytes + _width(levels[0].most) + below


def _width(most: int) -> int:
    """Return the bytes of a number up to `most`."""
    return max((most.bit_length() + 7) // 8, 1)

"""The superblock: where a file begins, how wide its addresses are, and where its root group is.

Version 0 and 1                                 Version 2 and 3
0   8  signature                                0   8  signature
8   1  version                                  8   1  version
9   4  versions of parts, reserved              9   1  bytes of an address
13  1  bytes of an address                      10  1  bytes of a length
14  1  bytes of a length                        11  1  flags: 1: open for writing
15  1  reserved                                 12  n  addresses: base, extension, end of the file, root group
16  4  sizes of B-trees                             4  checksum
20  4  flags
24  4  only in version 1: size of B-trees of chunks, reserved
    n  addresses: base, free space, end of the file, driver
    n  root group: offset of its name, address
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.hdf5.space import SIGNATURE, Fields, Space
from steelyard.errors import FormatError, cut_off

if TYPE_CHECKING:
    from steelyard.storage.source import Source

_WIDTHS = (2, 4, 8)  # bytes of an address or a length


def find_superblock(source: Source) -> int | None:
    """Return the offset of the signature; None where there is none."""
    at = 0
    while at + 8 <= source.size and at <= limits.HDF5_USER_BLOCK:
        if source.read(at, 8) == SIGNATURE:
            return at
        at = at * 2 or 512
    return None


def open_space(source: Source) -> tuple[Space, int]:
    """Return the bytes of a file by address, and the address of its root group. Raises `FormatError` for a cut file."""
    base = find_superblock(source)
    if base is None:
        raise FormatError(source.name, "is not an HDF5 file")
    version = Space(source, base).fields(8, 1).uint()
    if version > 3:  # the newest version
        raise FormatError(source.name, f"is an HDF5 file of version {version}, which is not supported", base)
    old = version < 2  # see the table
    widths = Space(source, base).read(13 if old else 9, 2)
    if widths[0] not in _WIDTHS or widths[1] not in _WIDTHS:
        raise FormatError(source.name, f"is damaged: addresses of {widths[0]} and lengths of {widths[1]} bytes", base)
    space = Space(source, base, widths[0], widths[1])
    fields = _addresses_0(space, version) if old else _addresses_2(space)
    stored_base, _, end = fields.existing_offset(), fields.offset(), fields.existing_offset()
    fields.take(2 * space.address_bytes if old else 0)
    if base + end - stored_base > source.size:
        raise cut_off(source.name, source.size, base + end - stored_base)
    return space, fields.existing_offset()


def _addresses_0(space: Space, version: int) -> Fields:
    return space.fields(28 if version else 24, 6 * space.address_bytes)


def _addresses_2(space: Space) -> Fields:
    fields = space.checked(0, 16 + 4 * space.address_bytes, SIGNATURE)
    fields.take(4)
    return fields

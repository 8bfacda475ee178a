"""Checkpoints of TensorFlow's first version, written field by field: a table of one block, with true checksums."""

import struct

from steelyard.codecs.crc32c import crc32c
from steelyard.codecs.protobuf import BYTES, VARINT, tag, varint
from steelyard.formats.tensorflow.slices import slice_key
from steelyard.formats.tensorflow.sstable import MAGIC


def field(number, content):
    """Write a field of a message: bytes, a text or a number."""
    if isinstance(content, int):
        return tag(number, VARINT) + varint(content & (1 << 64) - 1)
    content = content.encode() if isinstance(content, str) else content
    return tag(number, BYTES) + varint(len(content)) + content


def shape_of(lengths):
    """Write a shape."""
    return b"".join(field(2, field(1, length)) for length in lengths)


def slice_of(extents):
    """Write a slice; the length -1 is the whole axis."""
    return b"".join(field(1, b"" if length == -1 else field(1, start) + field(2, length)) for start, length in extents)


def listed(name, shape, kind, *slices):
    """Write what the list of a table says of a tensor."""
    return field(1, field(1, name) + field(2, shape_of(shape)) + field(3, kind) + b"".join(field(4, slice_of(s)) for s in slices))


def stored(name, extents, tensor):
    """Return the key of a slice, and its value."""
    value = field(2, field(1, name) + field(2, slice_of(extents)) + field(3, tensor))
    return slice_key(name.encode(), extents), value


def checkpoint(tensors, *slices):
    """Return the bytes of a table."""
    entries = [(b"", field(1, b"".join(tensors) + field(2, field(1, 1)))), *sorted(slices)]
    content = b"".join(b"\0" + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    block, out = _block(content), b""
    handle = varint(0) + varint(len(block) - 5)
    index = _block(b"\0\1" + varint(len(handle)) + b"\xff" + handle)
    out = block + index
    return out + (b"\0\0" + varint(len(block)) + varint(len(index) - 5)).ljust(40, b"\0") + MAGIC


def _block(content):
    data = content + struct.pack("<2I", 0, 1) + b"\0"
    crc = crc32c(data)
    return data + struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def numbers(values):
    """Write a tensor of float32."""
    return field(1, 1) + field(2, shape_of([len(values)])) + field(5, struct.pack(f"<{len(values)}f", *values))

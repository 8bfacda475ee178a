"""Where a reader of Steelyard reads which fields of a file: mutators change these, and not the numbers between them."""

from contextlib import contextmanager, suppress
from functools import lru_cache

from steelyard.codecs.hdf5.space import Fields, Space
from steelyard.codecs.r.binary import Binary
from steelyard.codecs.r.stream import read_r
from steelyard.errors import SteelyardError
from steelyard.formats.hdf5 import read
from steelyard.storage.source import from_bytes


@contextmanager
def _instead(kind, name, function):
    before = getattr(kind, name)
    setattr(kind, name, function)
    try:
        yield
    finally:
        setattr(kind, name, before)


@lru_cache(64)
def hdf5(data):
    """Return the (offset, length) of each structure of an HDF5 file, and of those that end in a checksum."""
    structures, checked, original = {}, {}, Space.read

    def record(space, address, count):
        structures[space.base + address, count] = None
        return original(space, address, count)

    def check(own):
        checked[own.space.base + own.address, len(own.data)] = None

    with _instead(Space, "read", record), _instead(Fields, "check", check), suppress(SteelyardError):
        for weight in read(from_bytes(data, "x.h5"), "all").values():
            weight.read(0, min(weight.size, 1))
    return [*structures], [*checked]


@lru_cache(64)
def r_fields(data):
    """Return the offset of each integer, and the (offset, length) of each text, of an R serialization in binary."""
    integers, texts, take, read_text = {}, {}, Binary.integer, Binary.text

    def integer(own):
        integers[own.position] = None
        return take(own)

    def text(own, length):
        texts[own.position, length] = None
        return read_text(own, length)

    with _instead(Binary, "integer", integer), _instead(Binary, "text", text), suppress(SteelyardError):
        read_r(from_bytes(data, "x.rds"))
    return [*integers], [*texts]

"""All limits on the memory and time that a file may cost; each can be raised.

A small file must not fill the memory, nor keep the processor busy for hours. So a reader compares the claims of a file
with these limits before it allocates. They are far above the needs of real models; `allow` raises one for a trusted file.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from steelyard.errors import meant, quoted

# The budget of a file
MEMORY = 100 << 20
"""bytes of memory that the readers of a file of any size may spend: a second or two, and as much memory"""
MEMORY_PER_BYTE = 64
"""bytes of memory for each byte of the file, in addition: an item of R takes 4 bytes in the file and at most 250 in memory"""

# Bytes that compressed and sparse numbers may take
INFLATED = 1 << 30
"""bytes to which a compressed stream or zip member may inflate if it packs better than 4 to 1: it may be held in memory"""
INFLATED_RATIO = 200
"""times its packed size to which a stream or member may inflate: real weights pack to a tenth at best, zeros to a thousandth"""
INFLATED_FLOOR = 1 << 26
"""bytes to which a stream or member of any packed size may inflate: this much is harmless"""
INFLATED_PROPORTION = 4
"""times its packed size to which a stream or member of any size may inflate: real weights do pack this well"""
ZSTD_WINDOW = 1 << 27
"""bytes that Zstandard may look back, as in its own tool"""
SNAPPY_BLOCK = 256 << 20
"""bytes of one block of a TensorFlow index: it is held in memory"""
SNAPPY_RATIO = 100
"""times its packed size to which such a block may unpack: a copy of 64 bytes takes 3, so Snappy reaches 22"""
DENSE = 1 << 28
"""bytes that a sparse, repeated or chunked tensor of any stored size may take when it is written out"""
DENSE_RATIO = 1000
"""times its stored size that a tensor larger than `DENSE` may take when it is written out"""

# Counts
OBJECTS = 1_000_000
"""parts of a file, such as members and pickles, that an audit looks into"""
SHARDS = 100_000
"""files into which one model may be split: their names have five digits"""
BUNDLE_SLICES = 1000
"""slices into which TensorFlow may have split one tensor"""

# Levels, which cost one frame of a stack each
DEPTH = 1000
"""levels of a pickle or an R list: these are walked without recursion"""
RECURSION = 64
"""levels of a config, a MessagePack, or estimators in estimators: these are walked by recursion"""
SKOPS_DEPTH = 200
"""levels of a skops schema, where one object takes three"""
PROTOBUF_DEPTH = 100
"""levels of messages in a protocol buffer, as in its own library"""
NESTED_FILES = 3
"""levels of files inside files, of PyTorch or R"""
NESTED_PICKLES = 8
"""levels of pickles inside pickles, as arrays of objects make them"""

# Lengths of single texts and headers, which are read as a whole
JSON = 100_000_000
"""bytes of a JSON that describes tensors, and of an HDF5 attribute: the header limit of safetensors"""
HUB_CONFIG = 1 << 22
"""bytes of the config.json next to a model: those with thousands of labels take one megabyte"""
TEXT = 1 << 20
"""bytes of a name, a path or a small text"""
NPY_HEADER = 10_000
"""bytes of the header of a `.npy` file, as in NumPy"""
INTEGER_DIGITS = 4300
"""digits of an integer written as text, as in Python"""
INTEGER_BYTES = 1024
"""bytes of an integer in a pickle"""
HDF5_USER_BLOCK = 1 << 20
"""bytes before the signature of an HDF5 file"""

# Shapes, as NumPy allows them
RANK = 64
"""axes of an array, as in NumPy"""
ELEMENTS = 1 << 58
"""elements of an array: more than the memory of any machine"""

# Processes of one model
PATIENCE = 3
"""seconds that a process waits for the others over which a tensor is distributed: one that never asks looks like a late one"""

# What is shown and audited
FINDINGS = 100
"""calls of a pickle that an audit lists"""
AUDIT_DEPTH = 16
"""levels of archives, streams and pickles in each other that an audit looks into"""
AUDITED_FILES = 10_000
"""files of a folder that an audit looks into"""
ARCHIVED = 100
"""models of an archive that are each a row of its folder: one with more is data"""
METADATA = 50
"""plain entries of a checkpoint that are kept in `meta`"""


class allow:  # noqa: N801 - used as a function
    """Change limits for the whole process; as a context manager, until the block ends.

    Limits are compared when a file is listed and when its numbers are read, so both belong in the block. Raises
    `ValueError` for an unknown name.

    >>> with allow(INFLATED=8 << 30, INFLATED_RATIO=2000):
    ...     inflatable(1 << 30) >> 30
    8
    >>> INFLATED >> 30
    1
    """

    __slots__ = ("_before",)

    def __init__(self, **changed: int) -> None:
        known = globals()
        names = [name for name in known if name.isupper()]
        for name in changed:
            if name not in names:
                near = meant(name, names)
                raise ValueError(f"unknown limit {name!r}; see the table of limits in docs/formats.md{near}")
        self._before = {name: known[name] for name in changed}
        known.update(changed)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        globals().update(self._before)


def given(text: str) -> dict[str, int]:
    """Return the limits that a word of the command line gives, as `allow` takes them: ``NAME=N``, or ``none`` for no limits.

    ``none`` lifts the limits of memory and time, and not those of depth, shape and rank. Raises `ValueError` for another word.

    >>> given("SHARDS=7"), given("none")["INFLATED"] >> 60
    ({'SHARDS': 7}, 4)
    """
    named = [name for name in globals() if name.isupper()]
    if text == "none":
        # an array and Python's stack cannot hold more than these allow, and a process alone would wait for ever
        kept = {"RANK", "ELEMENTS", "DEPTH", "RECURSION", "SKOPS_DEPTH", "PROTOBUF_DEPTH", "NESTED_FILES", "NESTED_PICKLES"}
        kept.add("PATIENCE")
        return {name: 1 << 62 for name in named if name not in kept} | {"ZSTD_WINDOW": 1 << 31}  # the most that it takes
    name, equals, number = text.partition("=")
    if not equals or name not in named or not number.isdecimal() or len(number) > 18:
        raise ValueError(f"{quoted(text)} does not set a limit; use NAME=N with a name of docs/formats.md, or none")
    return {name: int(number)}


def inflatable(packed: int) -> int:
    """Return how many bytes a stream or member of `packed` bytes may inflate to.

    >>> [inflatable(1 << shift) >> 20 for shift in (10, 20, 30)]
    [64, 200, 4096]
    """
    return max(min(INFLATED, INFLATED_RATIO * packed), INFLATED_FLOOR, INFLATED_PROPORTION * packed)


def is_bomb(nbytes: int, stored: int) -> bool:
    """Whether a tensor of `nbytes` is too large to be written out from only `stored` bytes.

    >>> is_bomb(1 << 40, 10), is_bomb(1000, 10)
    (True, False)
    """
    return nbytes > max(DENSE, DENSE_RATIO * stored)


def is_possible(shape: Sequence[int]) -> bool:
    """Whether NumPy can make an array of this shape; the axes of an empty array have limits too.

    >>> is_possible((0, 3)), is_possible((0, 1 << 62)), is_possible((2, -1))
    (True, False, False)
    """
    if not shape:
        return True
    size = prod(shape) or prod([length or 1 for length in shape])
    return len(shape) <= RANK and min(shape) >= 0 and size < ELEMENTS

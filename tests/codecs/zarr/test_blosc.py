"""Chunks of Blosc, against the bytes that numcodecs packed."""

import carried
import numpy as np
import pytest

from steelyard.codecs.zarr import blosc
from steelyard.errors import FormatError
from steelyard.storage.source import from_bytes

PACKERS = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")


def packed(begin=""):
    """Yield the chunks whose names begin so, and the bytes that `make_zarr.py` packed."""
    with np.load(carried.folder("zarr") / "blosc.npz") as held:
        for name in held:
            if name.startswith(begin):
                size = int(name.partition(":")[2])
                yield held[name].tobytes(), (np.arange(size) // 3 % 251).astype("u1").tobytes()


def unpacked(chunk, size):
    found = blosc.unpack(from_bytes(chunk, "c"), size)
    return found.read(0, found.size)


@pytest.mark.parametrize("packer", PACKERS)
def test_a_chunk_has_the_bytes_that_were_packed(packer):
    held = [*packed(f"{packer}-")]
    assert len(held) == 45
    for chunk, content in held:
        assert unpacked(chunk, len(content)) == content


@pytest.mark.parametrize("packer", PACKERS)
def test_a_changed_or_cut_chunk_is_refused_or_has_as_many_bytes(packer):
    chunk, content = next(packed(f"{packer}-1-f4-4999"))
    refused = 0
    for at in [*range(60), *range(60, len(chunk), 97)]:
        damaged = bytearray(chunk)
        damaged[at] ^= 0x81
        for changed in (bytes(damaged), chunk[:at]):
            try:
                assert len(unpacked(changed, len(content))) == len(content)
            except FormatError:
                refused += 1
    assert refused > 100


def test_a_chunk_of_another_size_and_one_that_claims_too_much_are_refused():
    chunk, content = next(packed("lz4-0-u1-4999"))
    with pytest.raises(FormatError, match=r"claims 4,999 bytes in \d+, where there are \d+ for 5,000"):
        unpacked(chunk, len(content) + 1)
    huge = (1 << 31).to_bytes(4, "little")
    with pytest.raises(FormatError, match=r"claims to unpack from [\d,]+ to 2,147,483,648 bytes; refused, see steelyard\.limits"):
        unpacked(chunk[:4] + huge + chunk[8:], 1 << 31)


def test_a_packer_that_is_not_read_is_named():
    chunk, content = next(packed("lz4-0-u1-4999"))
    with pytest.raises(FormatError, match="packed by Blosc with Snappy, which is not read"):
        unpacked(chunk[:2] + bytes([2 << 5]) + chunk[3:], len(content))

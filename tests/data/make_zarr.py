"""Makes zarr.tar.xz: groups as zarr-python 3.1 writes them, and streams of Blosc as numcodecs 0.16 packs them, with their numbers.

    python tests/data/make_zarr.py FOLDER && tar -C FOLDER -cJf tests/data/zarr.tar.xz .

It needs zarr and numcodecs, which the project does not. The folders are named after the version; "alone" is a single array.
"""

import sys

import numcodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

KERNEL = np.arange(48, dtype="f4").reshape(8, 6)
ARRAYS = {
    "decoder/dense/bias": np.arange(6, dtype="f2"),
    "decoder/dense/kernel": KERNEL,
    "encoder/layers/0/kernel": KERNEL[:5] * 2,
    "encoder/layers/0/scale": np.float64(2.5) * np.ones(()),
    "steps": np.arange(9, dtype=">i8"),
}
PACKERS = {
    2: [None, numcodecs.Zlib(1), numcodecs.Blosc(), numcodecs.LZ4(), numcodecs.Zstd()],
    3: [None, GzipCodec(), BloscCodec(cname="lz4"), BloscCodec(cname="blosclz", shuffle="bitshuffle"), ZstdCodec()],
}


def packed():
    """Yield how a stream was packed, its numbers and its bytes: each packer and shuffle, in lengths of uneven blocks."""
    for packer in ("blosclz", "lz4", "lz4hc", "zlib", "zstd"):
        for shuffle in (0, 1, 2):
            for dtype in ("u1", "<f4", "<c16", "S3", "S20"):
                for count in (7, 40, 4999):
                    values = (np.arange(count * np.dtype(dtype).itemsize) // 3 % 251).astype("u1")
                    chunk = numcodecs.Blosc(packer, 5, shuffle, blocksize=1 << 12).encode(values.view(dtype))
                    yield f"{packer}-{shuffle}-{dtype.strip('<')}-{count}", len(values), np.frombuffer(chunk, "u1")


if __name__ == "__main__":
    root = sys.argv[1]
    for version, packers in PACKERS.items():
        group = zarr.create_group(f"{root}/v{version}", zarr_format=version)
        for (name, values), packer in zip(ARRAYS.items(), packers, strict=True):
            chunks = tuple(-(-length // 2) for length in values.shape)
            array = group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=chunks, compressors=packer)
            array[...] = values
    sharded = group.create_array("sharded", shape=(8, 6), dtype="f4", chunks=(2, 3), shards=(4, 6), fill_value=1.5)
    sharded[:4] = KERNEL[:4]
    zarr.consolidate_metadata(group.store)
    alone = zarr.create_array(f"{root}/alone", shape=(8, 6), chunks=(4, 6), dtype="f4", zarr_format=2)
    alone[...] = KERNEL
    for version in (2, 3):
        held = zarr.open_group(f"{root}/v{version}", mode="r")
        found = {name: member[...] for name, member in held.members(max_depth=None) if isinstance(member, zarr.Array)}
        np.savez(f"{root}/v{version}.npz", **found)
    np.savez(f"{root}/blosc.npz", **{f"{name}:{size}": chunk for name, size, chunk in packed()})

"""Arrays of zarr and keys of OCDBT that TensorStore wrote, against the numbers that it reads."""

import json

import ml_dtypes
import numpy as np
import pytest
import tensorstore as ts

from steelyard import limits
from steelyard.codecs import ocdbt, zarr
from steelyard.errors import FormatError
from steelyard.storage import source as sources
from steelyard.storage.source import open_path

BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
BIG = {"name": "bytes", "configuration": {"endian": "big"}}
ZSTD = {"name": "zstd", "configuration": {"level": 1}}
CRC = {"name": "crc32c"}


def turned(*order):
    return {"name": "transpose", "configuration": {"order": list(order)}}


def sharded(*codecs, index=(BYTES, CRC), place="end"):
    settings = {"chunk_shape": [2, 3], "codecs": list(codecs), "index_codecs": list(index), "index_location": place}
    return {"name": "sharding_indexed", "configuration": settings}


VERSION_2 = {
    "plain": {"compressor": None},
    "zstd": {"compressor": {"id": "zstd", "level": 1}},
    "gzip": {"compressor": {"id": "gzip", "level": 1}},
    "zlib": {"compressor": {"id": "zlib", "level": 1}},
    "bz2": {"compressor": {"id": "bz2", "level": 1}},
    "columns": {"compressor": None, "order": "F"},
    "columns packed": {"compressor": {"id": "zstd"}, "order": "F"},
    "big": {"compressor": None, "dtype": ">f4"},
    "folders": {"compressor": None, "dimension_separator": "/"},
    "whole": {"compressor": None, "chunks": [8, 9]},
    "uneven": {"compressor": {"id": "zstd"}, "chunks": [3, 5]},
    "bfloat16": {"compressor": None, "dtype": "bfloat16"},
    "bool": {"compressor": None, "dtype": "|b1"},
    "complex": {"compressor": None, "dtype": "<c8"},
}
VERSION_3 = {
    "plain": [BYTES],
    "big": [BIG],
    "zstd": [BYTES, ZSTD],
    "gzip": [BYTES, {"name": "gzip", "configuration": {"level": 1}}],
    "checked": [BYTES, CRC],
    "turned": [turned(1, 0), BYTES],
    "sharded": [sharded(BYTES, ZSTD)],
    "sharded first": [sharded(BYTES, index=(BYTES,), place="start")],
    "sharded turned": [sharded(turned(1, 0), BYTES, ZSTD)],
}


def written(folder, driver, metadata, dtype="float32", base=None):
    """Write 8 by 9 numbers with TensorStore, and return what it reads."""
    spec = {"driver": driver, "kvstore": base or {"driver": "file", "path": f"{folder}/w/"}, "metadata": metadata}
    array = ts.open(spec, create=True, dtype=None if "dtype" in metadata else dtype).result()
    array[...] = np.arange(72).reshape(8, 9).astype(array.dtype.numpy_dtype)
    return array[...].read().result()


def read(folder, fills=True):
    return zarr.array(zarr.Files(open_path(folder)), open_path(folder), "w/", "w", fills=fills)


def same(weight, expected):
    assert weight.shape == expected.shape
    assert weight.numpy().dtype == expected.dtype
    assert weight.numpy().tobytes() == expected.tobytes()
    assert np.array_equal(weight.read(5, 31), expected.reshape(-1)[5:31])


@pytest.mark.parametrize("kind", VERSION_2)
def test_an_array_of_version_2_is_what_tensorstore_reads(tmp_path, kind):
    metadata = {"shape": [8, 9], "chunks": [4, 3], "dtype": "<f4", **VERSION_2[kind]}
    same_after(tmp_path, "zarr", metadata)


def same_after(tmp_path, driver, metadata):
    expected = written(tmp_path, driver, metadata)
    same(read(tmp_path), expected)


@pytest.mark.parametrize("kind", VERSION_3)
def test_an_array_of_version_3_is_what_tensorstore_reads(tmp_path, kind):
    grid = {"name": "regular", "configuration": {"chunk_shape": [4, 3] if "sharded" not in kind else [4, 9]}}
    metadata = {"shape": [8, 9], "chunk_grid": grid, "codecs": VERSION_3[kind], "data_type": "float32"}
    same_after(tmp_path, "zarr3", metadata)


def test_a_chunk_that_is_not_stored_has_the_fill_value_or_is_missing(tmp_path):
    metadata = {
        "shape": [4, 3],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 3]}},
        "fill_value": 1.5,
        "data_type": "float32",
    }
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{tmp_path}/w/"},
        "metadata": {**metadata, "codecs": [BYTES]},
    }
    array = ts.open(spec, create=True).result()
    array[2:] = 4.0
    assert np.array_equal(read(tmp_path).numpy(), array[...].read().result())
    with pytest.raises(FormatError, match=r"its chunk w/c/0/0 is missing \(partial copy\?\)"):
        read(tmp_path, fills=False).numpy()


def test_a_run_reads_only_the_chunks_that_it_touches_and_a_plain_chunk_in_part(tmp_path, monkeypatch):
    expected = written(tmp_path, "zarr", {"shape": [8, 9], "chunks": [4, 9], "dtype": "<f4", "compressor": None})
    weight = read(tmp_path)
    taken, fill = [], sources._File.fill

    def noted(file, offset, buffer):
        taken.append((file.name.rpartition("/")[2], offset, len(buffer)))
        fill(file, offset, buffer)

    monkeypatch.setattr(sources._File, "fill", noted)
    assert np.array_equal(weight[5], expected[5])
    assert taken == [("1.0", 36, 36)]


CHANGES = {
    "shape": ([8], "has the shape"),
    "chunks": ([0, 3], "has the shape"),
    "dtype": ("|O", "is of the type '|O', which is not read"),
    "dimension_separator": ("/../", "between the places in the keys of its chunks"),
    "compressor": ({"id": "evil.Codec"}, "is packed by 'evil.Codec', which is not read"),
    "filters": ([{"id": "delta"}], "is packed by 'delta', which is not read"),
    "zarr_format": (4, "is of version 4 of zarr"),
    "order": ("Z", "has the order 'Z'"),
}


@pytest.mark.parametrize("field", CHANGES)
def test_what_could_be_misread_is_listed_and_refused(tmp_path, field):
    written(tmp_path, "zarr", {"shape": [8, 9], "chunks": [4, 3], "dtype": "<f4", "compressor": None})
    value, said = CHANGES[field]
    facts = json.loads((tmp_path / "w" / ".zarray").read_text())
    (tmp_path / "w" / ".zarray").write_text(json.dumps({**facts, field: value}))
    with pytest.raises(FormatError) as refused:
        read(tmp_path).numpy()
    assert said in str(refused.value)


def test_a_chunk_of_another_length_or_with_another_checksum_is_refused(tmp_path):
    metadata = {"shape": [8, 9], "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [8, 9]}}}
    written(tmp_path, "zarr3", {**metadata, "codecs": [BYTES, CRC]})
    chunk = tmp_path / "w" / "c" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    data[8] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(FormatError, match="its checksum is another one"):
        read(tmp_path).numpy()
    written(tmp_path / "short", "zarr", {"shape": [8, 9], "chunks": [8, 9], "dtype": "<f4", "compressor": None})
    (tmp_path / "short" / "w" / "0.0").write_bytes(bytes(100))
    with pytest.raises(FormatError, match="takes 100 bytes where the shape of a chunk takes 288"):
        read(tmp_path / "short").numpy()


def test_an_array_that_claims_far_more_than_is_stored_is_refused_when_it_is_listed(tmp_path):
    written(tmp_path, "zarr", {"shape": [8, 9], "chunks": [8, 9], "dtype": "<f4", "compressor": None})
    facts = json.loads((tmp_path / "w" / ".zarray").read_text())
    (tmp_path / "w" / ".zarray").write_text(json.dumps({**facts, "shape": [80000, 90000]}))
    with pytest.raises(FormatError, match=r"claims 28,800,000,000 bytes in 100,000,000 chunks, but \d+ bytes in 2 are stored"):
        read(tmp_path).numpy()


def kept(folder, count, **config):
    """Write keys into OCDBT with TensorStore, and return them with their values."""
    store = ts.KvStore.open({"driver": "ocdbt", "base": f"file://{folder}/", "config": config}).result()
    pairs = {f"layer.{number:03}/{'x' * (number % 7)}": bytes([number % 256]) * (number * 3 % 2000) for number in range(count)}
    transaction = ts.Transaction()
    for key, value in pairs.items():
        store.with_transaction(transaction)[key] = value
    transaction.commit_sync()
    return pairs


@pytest.mark.parametrize("config", [{}, {"max_decoded_node_bytes": 700, "max_inline_value_bytes": 100}, {"compression": None}])
def test_the_keys_and_values_of_ocdbt_are_those_that_tensorstore_wrote(tmp_path, config):
    pairs = kept(tmp_path, 300, **config)
    found = ocdbt.KeyValues(open_path(tmp_path))
    assert found.keys == sorted(pairs)
    for key, value in pairs.items():
        held = found.get(key)
        assert held.read(0, held.size) == value
    assert found.get("none") is None
    assert sum(found.sizes("layer.0")) == sum(len(value) for key, value in pairs.items() if key.startswith("layer.0"))


def test_a_store_without_keys_has_none(tmp_path):
    store = ts.KvStore.open({"driver": "ocdbt", "base": f"file://{tmp_path}/"}).result()
    store["a"] = b"b"
    store.delete_range(ts.KvStore.KeyRange("", "")).result()
    assert ocdbt.KeyValues(open_path(tmp_path)).keys == []


@pytest.mark.parametrize("at", [0, 5, 12, 13, 40])
@pytest.mark.parametrize("mark", [ocdbt._MANIFEST, ocdbt._NODE])
def test_a_changed_byte_of_a_manifest_or_a_node_is_refused(tmp_path, mark, at):
    kept(tmp_path, 50)
    for path in (tmp_path / ocdbt.MANIFEST, *(tmp_path / "d").iterdir()):
        data = bytearray(path.read_bytes())
        if mark in data:
            data[data.rindex(mark) + at] ^= 1
            path.write_bytes(data)
    with pytest.raises(FormatError):
        ocdbt.KeyValues(open_path(tmp_path))


def test_more_keys_than_the_limits_allow_are_refused(tmp_path):
    kept(tmp_path, 300)
    with limits.allow(MEMORY=1000, MEMORY_PER_BYTE=0), pytest.raises(FormatError, match=r"refused, see steelyard\.limits"):
        ocdbt.KeyValues(open_path(tmp_path))


def test_types_that_numpy_lacks_have_their_own_numbers(tmp_path):
    expected = written(tmp_path, "zarr", {"shape": [8, 9], "chunks": [8, 9], "dtype": "float8_e4m3fn", "compressor": None})
    assert read(tmp_path).numpy().dtype == ml_dtypes.float8_e4m3fn
    same(read(tmp_path), expected)

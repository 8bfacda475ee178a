"""HDF5 read in Python alone: every way to store a tree and its numbers, as h5py reads them, and files that lie."""

import io
import struct
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest

from steelyard.codecs.hdf5 import checksum
from steelyard.codecs.hdf5.filters import LZF, Filter, unpacked
from steelyard.codecs.hdf5.reading import open_hdf5
from steelyard.errors import FormatError, UnsafeFileError
from steelyard.storage.source import from_bytes

RNG = np.random.default_rng(9)
VERSIONS = {"oldest": "earliest", "1.8": ("v108", "v108"), "1.10": ("v110", "v110"), "latest": "latest"}
PACKED = {
    "plain": {},
    "gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf", "shuffle": True},
    "checked": {"fletcher32": True},
}
# shape, chunks, largest shape: from HDF5 1.10 on, each kind of index of chunks is used by one of them
GROWTH = {
    "one chunk": ((5, 6), (5, 6), None),
    "fixed": ((50, 30), (7, 11), None),
    "fixed, in pages": ((3000,), (1,), None),
    "grows at first": ((50, 30), (7, 11), (None, 30)),
    "grows at last": ((4, 3, 5), (2, 2, 2), (4, 9, None)),
    "grows far": ((5000,), (1,), (None,)),
    "grows twice": ((50, 30), (7, 11), (None, None)),
    "may grow to an end": ((50, 30), (7, 11), (90, 70)),
}


def made(fill, **options):
    """Return the bytes of a file, as `fill(file)` fills it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        fill(file)
    return buffer.getvalue()


def tensors(data):
    return open_hdf5(from_bytes(data, "a.h5")).tensors


def assert_same(data):
    """Every dataset has h5py's numbers, whole and in part, and every attribute with text its text."""
    hdf5 = open_hdf5(from_bytes(data, "a.h5"))
    paths = [""]
    with h5py.File(io.BytesIO(data)) as file:
        file.visit(paths.append)
        for path in paths:
            item = file[path or "/"]
            if isinstance(item, h5py.Dataset):
                wanted, weight = item[()], hdf5.tensors[path]
                assert np.array_equal(weight.numpy(), wanted), path
                if weight.size > 3:
                    run = weight.read(1, weight.size - 2)
                    assert np.array_equal(run, np.reshape(wanted, -1)[1:-2]), path
                continue
            for name, value in item.attrs.items():
                texts = [v.decode() if isinstance(v, bytes) else v for v in np.atleast_1d(value).tolist()]
                assert hdf5.attribute(path, name) == (texts if np.ndim(value) else texts[0]), (path, name)
    assert hdf5.tensors.keys() <= set(paths)


@pytest.mark.parametrize("growth", GROWTH)
@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("version", VERSIONS)
def test_chunks_are_found_by_every_kind_of_index_and_unpacked_by_every_filter(version, packed, growth):
    shape, chunks, largest = GROWTH[growth]
    array = np.round(RNG.random(shape) * 5).astype(">f4")
    assert_same(
        made(
            lambda file: file.create_dataset("w", data=array, chunks=chunks, maxshape=largest, **PACKED[packed]),
            libver=VERSIONS[version],
        )
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_chunks_that_were_never_written_have_the_fill_value(version):
    def fill(file):
        for name, largest in {"fixed": None, "grows": (None, 40), "grows twice": (None, None)}.items():
            file.create_dataset(name, (1000, 40), "f4", chunks=(10, 10), maxshape=largest, fillvalue=2.5)[500:520, 5:25] = 1
        file.create_dataset("pages", (20_000,), "i4", chunks=(3,), maxshape=(None,))[17_000] = 9
        file.create_dataset("nothing", (3, 4), "i2", fillvalue=-7)

    assert_same(made(fill, libver=VERSIONS[version]))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("ordered", [False, True], ids=["by name", "by order too"])
def test_groups_and_attributes_of_any_number_are_listed(version, ordered):
    def fill(file):
        for number in range(700):
            file[f"many/layer_{number}"] = np.float32(number)
        named = file.create_group("named")
        for number in range(40):
            named.attrs[f"b{number}"] = f"text {number}" * number + "."
        file["many"].attrs["weight_names"] = [f"layer_{number}:0".encode() for number in range(300)]
        file["many"].attrs["varying"] = [f"näme {number}" * (number % 5) for number in range(500)]
        file["many"].attrs["medium"] = "y" * 9000
        if version in ("1.10", "latest"):
            file["many"].attrs["huge"] = "z" * 200_000

    assert_same(made(fill, libver=VERSIONS[version], track_order=ordered))


def test_chunks_without_an_index_and_whole_edges_are_read():
    def fill(file):
        space = h5py.h5s.create_simple((10, 12), (16, 20))
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((4, 5))
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        h5py.Dataset(h5py.h5d.create(file.id, b"follow", h5py.h5t.NATIVE_FLOAT, space, plan))[...] = RNG.random((10, 12))
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((10, 12))
        h5py.Dataset(h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_FLOAT, space, plan))[...] = RNG.random((10, 12))
        file["kind"] = np.dtype("<f4")
        file.create_dataset("of a named type", data=np.arange(4.0), dtype=file["kind"])

    data = made(fill, libver="latest")
    found = tensors(data)
    with h5py.File(io.BytesIO(data)) as file:
        for name in ("follow", "compact", "of a named type"):
            assert np.array_equal(found[name].numpy(), file[name][()]), name
    with pytest.raises(FormatError, match="kind is a named type, which has no numbers"):
        found["kind"].numpy()


def chunk(packed, filters, mask=0):
    """Return a file whose only chunk, of 64 x 64 int32, has these packed bytes."""

    def fill(file):
        dataset = file.create_dataset("w", (64, 64), "i4", chunks=(64, 64), **filters)
        dataset.id.write_direct_chunk((0, 0), packed, mask)

    return made(fill)


LIES = {
    "16 bytes": (zlib.compress(bytes(16)), "unpacks to 16 bytes, not 16,384"),
    "no bytes": (zlib.compress(b""), "unpacks to 0 bytes"),
    "too many bytes": (zlib.compress(bytes(70_000)), "unpacks to more than 16,388 bytes"),
    "half a stream": (zlib.compress(RNG.bytes(16_384))[:9000], "ends in the middle of its gzip stream"),
    "no stream": (b"\1\2\3\4\5\6", "cannot be unpacked"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_chunk_that_unpacks_to_another_size_is_refused_and_no_memory_is_shown(lie):
    packed, why = LIES[lie]
    with pytest.raises(FormatError, match=why):
        tensors(chunk(packed, {"compression": "gzip"}))["w"].numpy()


def test_a_chunk_whose_filters_were_left_out_has_its_own_size():
    whole = np.arange(4096, dtype="<i4")
    assert np.array_equal(tensors(chunk(whole.tobytes(), {"compression": "gzip"}, 1))["w"].numpy().reshape(-1), whole)
    with pytest.raises(FormatError, match="unpacks to 16 bytes"):
        tensors(chunk(bytes(16), {"compression": "gzip"}, 1))["w"].numpy()


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (b"\x1fabc", "in the middle"),
        (b"\x20\x05", "before its start"),
        (b"\x00a\xe0\xff", "in the middle"),
        (b"\x00a" + b"\xe0\xff\x00" * 99, "more than"),
    ],
)
def test_a_damaged_stream_of_lzf_is_refused(packed, why):
    with pytest.raises(ValueError, match=why):
        unpacked(packed, [Filter(LZF, ())], 0, 64)


def test_other_filters_are_refused_by_name():
    def fill(file):
        file.create_dataset("w", data=np.arange(64), chunks=(64,), scaleoffset=0)

    with pytest.raises(UnsafeFileError, match=r"filter 6 \(scaleoffset, not supported\); pack it with gzip"):
        tensors(made(fill))["w"].numpy()


def test_a_text_that_claims_two_gigabytes_costs_nothing():
    def fill(file):
        file["a/w"] = 1.0
        file["a"].attrs["names"] = ["abc", "de"]

    data = made(fill)
    heap = data.index(b"GCOL")
    at = data.index(struct.pack("<Q", heap)) - 4  # of "abc": the length, the heap, and the index in it
    data = data[:at] + struct.pack("<I", (1 << 31) - 1) + data[at + 4 :]
    tracemalloc.start()
    hdf5 = open_hdf5(from_bytes(data, "a.h5"))
    assert hdf5.attribute("a", "names") is None
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()
    assert hdf5.tensors["a/w"].numpy() == 1.0


def test_a_group_that_refers_to_the_same_node_again_and_again_ends():
    data = bytearray(made(lambda file: [file.create_dataset(f"g/w{n:04}", data=float(n)) for n in range(1000)]))
    tree = next(at for at in range(0, len(data), 8) if data[at : at + 6] == b"TREE\0\1")
    child = data[tree + 24 + 8 : tree + 24 + 16]
    data[tree + 24 + 24 : tree + 24 + 32] = child
    with pytest.raises(FormatError, match="refers to the same node twice"):
        tensors(bytes(data))


@pytest.mark.parametrize("signature", [b"OHDR", b"FRHP", b"BTHD", b"BTLF", b"FHDB", b"FAHD", b"EAHD", b"FADB", b"EADB"])
def test_a_changed_byte_of_a_structure_with_a_checksum_is_found(signature):
    def fill(file):
        for number in range(30):
            file[f"g/w{number}"] = float(number)
        file.create_dataset("fixed", data=np.arange(20.0), chunks=(3,))
        file.create_dataset("grows", data=np.arange(20.0), chunks=(3,), maxshape=(None,))

    data = made(fill, libver="latest")
    place = data.index(signature) + 6
    changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    with pytest.raises(FormatError, match=r"checksum|damaged|unknown version"):
        [weight.numpy() for weight in tensors(changed).values()]


def test_the_checksums_are_those_of_their_authors():
    # the two examples in the driver of lookup3.c
    assert checksum.lookup3(b"") == 0xDEADBEEF
    assert checksum.lookup3(b"Four score and seven years ago") == 0x17770551
    data = RNG.bytes(100_001)
    first = second = 0
    for at in range(0, len(data), 2):
        first = (first + int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")) % 65535
        second = (second + first) % 65535
    assert checksum.fletcher32(data) == (first, second)


def test_a_chunk_larger_than_the_cache_and_many_small_ones_are_unpacked_once(monkeypatch):
    from steelyard.codecs.hdf5 import datasets

    calls = []
    real = datasets.unpacked
    monkeypatch.setattr(datasets, "unpacked", lambda *a: calls.append(1) or real(*a))
    monkeypatch.setattr(datasets, "CACHE", 64)

    def fill(file):
        file.create_dataset("large", data=RNG.random((100, 40)), chunks=(100, 40), compression="gzip")
        file.create_dataset("small", data=RNG.random((40, 2)), chunks=(4, 2), compression="gzip")

    for name, chunks in {"large": 1, "small": 10}.items():
        weight = tensors(made(fill))[name]
        calls.clear()
        for _ in weight.blocks(16):
            pass
        assert len(calls) == chunks, name


def test_a_part_of_a_very_long_row_unpacks_only_its_chunks(monkeypatch):
    from steelyard import sizes
    from steelyard.codecs.hdf5 import datasets

    calls = []
    real = datasets.unpacked
    monkeypatch.setattr(datasets, "unpacked", lambda *a: calls.append(1) or real(*a))
    monkeypatch.setattr(sizes, "READ_BLOCK", 10)
    array = RNG.random((2, 3, 1000))
    weight = tensors(made(lambda file: file.create_dataset("w", data=array, chunks=(1, 1, 10), compression="gzip")))["w"]
    assert np.array_equal(weight.read(1005, 1015), array.reshape(-1)[1005:1015])
    assert len(calls) == 2
    assert np.array_equal(weight.read(990, 3010), array.reshape(-1)[990:3010])
    assert [weight.read(at, at).shape for at in (0, 6000)] == [(0,), (0,)]


def test_two_threads_read_one_file(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    arrays = {f"w{number}": RNG.random((100, 40)) for number in range(8)}

    def fill(file):
        for name, array in arrays.items():
            file.create_dataset(name, data=array, chunks=(3, 7), compression="gzip")

    found = tensors(made(fill))
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            read = pool.map(lambda name: found[name].numpy(), [*arrays] * 4)
            assert all(np.array_equal(array, arrays[name]) for name, array in zip([*arrays] * 4, read, strict=True))

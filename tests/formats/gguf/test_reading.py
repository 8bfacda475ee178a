"""GGUF files by the reference library, and files that it reads."""

import struct
import time

import gguf
import ml_dtypes
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError
from steelyard.formats import gguf as gguf_format
from steelyard.formats.gguf.quantisation import QUANTS
from steelyard.storage.source import open_path
from steelyard.testing import check_format

RNG = np.random.default_rng(0)
FLOATS = RNG.normal(size=(3, 256)).astype(np.float32)


def written(path, tensors=(), metadata=(), architecture="llama", endianess=gguf.GGUFEndian.LITTLE):
    """A file by the reference's writer: tensors as (name, array, quantisation or None)."""
    writer = gguf.GGUFWriter(path, architecture, endianess=endianess)
    for add, key, value in metadata:
        getattr(writer, f"add_{add}")(key, value)
    for name, array, kind in tensors:
        writer.add_tensor(name, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


PLAIN = [np.float32, np.float16, np.float64, np.int8, np.int16, np.int32, np.int64]


@pytest.mark.parametrize("dtype", PLAIN)
def test_plain_types_are_read_in_their_shape(tmp_path, dtype):
    array = (10 * FLOATS[:, :4]).astype(dtype)
    found = check_format(open_path(written(tmp_path / "a.gguf", [("w", array, None)])))
    assert (found["w"].shape, found["w"].dtype) == ((3, 4), array.dtype.name)
    np.testing.assert_array_equal(found["w"].numpy(), array)


@pytest.mark.parametrize("name", sorted(QUANTS))
def test_every_quantisation_is_read_as_float32_under_its_name(tmp_path, name):
    kind = gguf.GGMLQuantizationType[name]
    size, width, _ = QUANTS[name]
    data = RNG.integers(0, 256, (3, 2 * width), dtype=np.uint8)
    path = written(tmp_path / "a.gguf", [("w", data, kind)])
    weight = steelyard.weights(path)["w"]
    assert (weight.shape, weight.dtype, weight.encoding) == ((3, 2 * size), "float32", name)
    whole = weight.numpy()
    if name not in ("Q8_1", "Q8_K", "Q1_0"):  # which the reference cannot decode
        with np.errstate(all="ignore"):
            expected = gguf.quants.dequantize(gguf.GGUFReader(path).tensors[0].data, kind)
        np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(weight.read(size - 1, 3 * size + 2), whole.ravel()[size - 1 : 3 * size + 2])


def test_bfloat16_is_read_as_bfloat16(tmp_path):
    array = FLOATS.astype(ml_dtypes.bfloat16)
    path = written(tmp_path / "a.gguf", [("w", array.view(np.uint8), gguf.GGMLQuantizationType.BF16)])
    weight = steelyard.weights(path)["w"]
    assert weight.dtype == "bfloat16"
    np.testing.assert_array_equal(weight.numpy(), array)


def test_a_big_endian_file_has_the_same_numbers(tmp_path):
    arrays = [("w", FLOATS, None), ("h", FLOATS.astype(np.float16), None)]
    path = written(tmp_path / "a.gguf", arrays, [("uint32", "llama.block_count", 7)], endianess=gguf.GGUFEndian.BIG)
    assert path.read_bytes()[4:8] == b"\0\0\0\3"
    found = steelyard.weights(path)
    assert found.meta["metadata"]["llama.block_count"] == 7
    for name, array, _ in arrays:
        np.testing.assert_array_equal(found[name].numpy(), array)


def raw(version, tensors, pairs=b"", count=0):
    """A file by hand: version 1 has lengths of four bytes."""
    wide = "I" if version == 1 else "Q"
    head = b"GGUF" + struct.pack(f"<I2{wide}", version, len(tensors), count) + pairs
    offset = 0
    for name, array in tensors:
        dims = array.shape[::-1]
        head += struct.pack(f"<{wide}", len(name)) + name + struct.pack(f"<I{len(dims)}{wide}IQ", len(dims), *dims, 0, offset)
        offset += -(-array.nbytes // 32) * 32
    head += bytes(-len(head) % 32)
    return head + b"".join(array.tobytes() + bytes(-array.nbytes % 32) for _, array in tensors)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_is_read(tmp_path, version):
    path = tmp_path / "a.gguf"
    path.write_bytes(raw(version, [(b"a", FLOATS), (b"b", FLOATS[0])]))
    found = steelyard.weights(path)
    assert found.meta["version"] == version
    np.testing.assert_array_equal(found["a"].numpy(), FLOATS)
    np.testing.assert_array_equal(found["b"].numpy(), FLOATS[0])


def test_llama_cpp_s_names_determine_roles_and_axes(tmp_path):
    matrix, row = FLOATS, FLOATS[0]
    names = {
        "token_embd.weight": (matrix, "embedding", "vocab out", "token_embd"),
        "blk.0.attn_norm.weight": (row, "scale", "channel", "blk.0.attn_norm"),
        "blk.0.attn_norm.bias": (row, "offset", "channel", "blk.0.attn_norm"),
        "blk.0.attn_q.weight": (matrix, "kernel", "out in", "blk.0.attn_q"),
        "blk.0.attn_q.bias": (row, "bias", "out", "blk.0.attn_q"),
        "blk.0.ffn_gate_exps.weight": (matrix.reshape(2, 3, 128), "kernel", "expert out in", "blk.0.ffn_gate_exps"),
        "output_norm.weight": (row, "scale", "channel", "output_norm"),
        "output.weight": (matrix, "kernel", "out in", "output"),
        "rope_freqs.weight": (row, "other", "", "rope_freqs"),
    }
    path = written(tmp_path / "a.gguf", [(name, array, None) for name, (array, *_) in names.items()])
    found = steelyard.weights(path)
    assert {n: (w.role, w.axes, w.layer) for n, w in found.items()} == {n: tuple(facts) for n, (_, *facts) in names.items()}


def test_a_vocabulary_is_listed_by_its_type_and_length_and_fast(tmp_path):
    words = [f"word{i}" for i in range(128_000)]
    metadata = [
        ("array", "tokenizer.ggml.tokens", words),
        ("array", "tokenizer.ggml.scores", [0.5] * 1000),
        ("array", "llama.list", [1, 2]),
    ]
    path = written(tmp_path / "a.gguf", [("w", FLOATS, None)], metadata)
    start = time.perf_counter()
    found = steelyard.weights(path)
    assert time.perf_counter() - start < 1
    assert found.meta["metadata"]["tokenizer.ggml.tokens"] == "string[128000]"
    assert found.meta["metadata"]["tokenizer.ggml.scores"] == "float32[1000]"
    assert found.meta["metadata"]["llama.list"] == [1, 2]
    np.testing.assert_array_equal(found["w"].numpy(), FLOATS)


def test_a_file_with_only_a_vocabulary_is_refused(tmp_path):
    path = written(tmp_path / "a.gguf", [], [("array", "tokenizer.ggml.tokens", ["a", "b"])])
    with pytest.raises(FormatError, match="holds a vocabulary only, and no weights"):
        steelyard.weights(path)


def test_the_reference_reads_what_is_written(tmp_path):
    arrays = {"w": FLOATS, "half": FLOATS.astype(np.float16), "brain": FLOATS.astype(ml_dtypes.bfloat16), "row": FLOATS[0, :5]}
    steelyard.save(arrays, tmp_path / "a.gguf")
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        tensor = found[name]
        assert tuple(int(n) for n in tensor.shape[::-1]) == array.shape
        assert tensor.data.tobytes() == array.tobytes()
    assert found["brain"].tensor_type == gguf.GGMLQuantizationType.BF16


def test_facts_and_metadata_survive_writing(tmp_path):
    metadata = [
        ("string", "general.name", "mine"),
        ("uint32", "llama.block_count", 2),
        ("float32", "llama.eps", 0.5),
        ("bool", "llama.flag", True),
    ]
    path = written(tmp_path / "a.gguf", [("blk.0.attn_q.weight", FLOATS, None)], metadata)
    first = steelyard.weights(path)
    steelyard.save(first, tmp_path / "b.gguf")
    second = steelyard.weights(tmp_path / "b.gguf")
    assert {**second.meta["metadata"]} == {**first.meta["metadata"]}
    fields = gguf.GGUFReader(tmp_path / "b.gguf").fields
    assert fields["llama.block_count"].contents() == 2
    assert second["blk.0.attn_q.weight"].axes == "out in"


@pytest.mark.parametrize(
    ("array", "what"),
    [(np.zeros(3, bool), "is bool with 1 axes"), (np.zeros((1, 1, 1, 1, 1), np.float32), "with 5 axes")],
)
def test_types_and_ranks_that_gguf_lacks_are_refused(tmp_path, array, what):
    with pytest.raises(FormatError, match=what):
        steelyard.save({"w": array}, tmp_path / "a.gguf")
    assert not list(tmp_path.iterdir())


def edited(tmp_path, change):
    data = bytearray(raw(3, [(b"a", FLOATS), (b"b", FLOATS[0])]))
    change(data)
    (tmp_path / "a.gguf").write_bytes(data)
    return tmp_path / "a.gguf"


def put(at, code, value):
    return lambda data: data.__setitem__(slice(at, at + struct.calcsize(code)), struct.pack(code, value))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (put(4, "<I", 99), "version 99"),
        (put(8, "<Q", 1 << 60), "claims 1,152,921,504,606,846,976 tensors"),
        (put(16, "<Q", 1 << 60), "metadata pairs"),
        (put(24, "<Q", 1 << 40), "claims a text"),
        (put(33, "<I", 9), "9 axes"),
    ],
)
def test_a_damaged_header_is_refused_with_its_reason(tmp_path, change, what):
    with pytest.raises(FormatError, match=what):
        steelyard.weights(edited(tmp_path, change))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (put(53, "<I", 77), "type 77"),
        (put(57, "<Q", 1 << 63), "partial download"),
    ],
)
def test_a_damaged_tensor_is_listed_and_refused_and_the_other_is_read(tmp_path, change, what):
    found = steelyard.weights(edited(tmp_path, change))
    with pytest.raises(FormatError, match=what):
        found["a"].numpy()
    np.testing.assert_array_equal(found["b"].numpy(), FLOATS[0])


@pytest.mark.parametrize(("offset", "what"), [(32, "b overlaps a"), (FLOATS.nbytes + 16, "multiple of 32")])
def test_a_tensor_that_overlaps_another_or_is_not_aligned_is_refused(tmp_path, offset, what):
    at = raw(3, [(b"a", FLOATS), (b"b", FLOATS[0])]).index(struct.pack("<Q", FLOATS.nbytes))
    found = steelyard.weights(edited(tmp_path, put(at, "<Q", offset)))
    with pytest.raises(FormatError, match=what):
        found["b"].numpy()
    np.testing.assert_array_equal(found["a"].numpy(), FLOATS)


def test_rows_that_are_not_whole_blocks_are_refused(tmp_path):
    path = written(tmp_path / "a.gguf", [("w", np.zeros((1, 34), np.uint8), gguf.GGMLQuantizationType.Q8_0)])
    data = path.read_bytes()
    at = data.index(struct.pack("<QQ", 32, 1))
    path.write_bytes(data[:at] + struct.pack("<QQ", 1, 32) + data[at + 16 :])
    with pytest.raises(FormatError, match="not whole blocks of 32"):
        steelyard.weights(path)["w"].numpy()


def test_a_file_is_recognised_by_its_magic(tmp_path):
    path = written(tmp_path / "a.bin", [("w", FLOATS, None)])
    assert gguf_format.sniff(open_path(path))
    assert list(steelyard.weights(path)) == ["w"]


def pair(key, kind, value, width="Q"):
    """A metadata pair by hand."""
    return struct.pack(f"<{width}", len(key)) + key + struct.pack("<I", kind) + value


def test_the_alignment_of_a_file_places_its_tensors_and_is_not_carried_into_a_copy(tmp_path):
    tensors = [("w", FLOATS[0, :3], None), ("v", FLOATS, None)]
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_custom_alignment(256)
    for name, array, _ in tensors:
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = steelyard.weights(tmp_path / "a.gguf")
    steelyard.save(found, tmp_path / "b.gguf")
    for read in (found, steelyard.weights(tmp_path / "b.gguf")):
        np.testing.assert_array_equal(read["w"].numpy(), FLOATS[0, :3])
        np.testing.assert_array_equal(read["v"].numpy(), FLOATS)


@pytest.mark.parametrize(
    ("kind", "value", "what"),
    [(4, struct.pack("<I", 48), "48, which is not a power of two"), (10, struct.pack("<Q", 64), "type uint64, not uint32")],
)
def test_an_alignment_that_is_not_a_power_of_two_in_32_bits_is_refused(tmp_path, kind, value, what):
    (tmp_path / "a.gguf").write_bytes(raw(3, [(b"a", FLOATS)], pair(b"general.alignment", kind, value), 1))
    with pytest.raises(FormatError, match=what):
        steelyard.weights(tmp_path / "a.gguf")


@pytest.mark.parametrize(("version", "width"), [(1, "I"), (3, "Q")])
def test_the_texts_of_an_array_are_skipped_by_their_lengths_and_must_end_in_the_file(tmp_path, version, width):
    words = b"".join(struct.pack(f"<{width}", len(word)) + word for word in (b"one", b"", b"three"))
    array = struct.pack(f"<I{width}", 8, 3) + words
    path = tmp_path / "a.gguf"
    path.write_bytes(raw(version, [(b"a", FLOATS)], pair(b"list", 9, array, width), 1))
    found = steelyard.weights(path)
    assert found.meta["metadata"] == {"list": "string[3]"}
    np.testing.assert_array_equal(found["a"].numpy(), FLOATS)
    cut = struct.pack(f"<I{width}", 8, 1) + struct.pack(f"<{width}", 20) + b"only ten.."
    path.write_bytes(raw(version, [], pair(b"list", 9, cut, width), 1).rstrip(b"\0"))
    with pytest.raises(FormatError, match=r"past the end of the file \(partial download\?\)"):
        steelyard.weights(path)


def test_arrays_of_at_most_16_numbers_are_listed_in_full(tmp_path):
    metadata = [("array", "short", list(range(16))), ("array", "long", list(range(17)))]
    found = steelyard.weights(written(tmp_path / "a.gguf", [("w", FLOATS, None)], metadata)).meta["metadata"]
    assert (found["short"], found["long"]) == (list(range(16)), "int32[17]")


def test_a_tensor_inside_another_does_not_hide_a_later_overlap(tmp_path):
    tensors = [(b"long", FLOATS), (b"inside", FLOATS[0, :8]), (b"late", FLOATS[0, :8])]
    data = bytearray(raw(3, tensors))
    for name, offset in ((b"inside", 32), (b"late", 512)):
        at = data.index(name) + len(name) + 4 + 8 + 4
        data[at : at + 8] = struct.pack("<Q", offset)
    (tmp_path / "a.gguf").write_bytes(data)
    found = steelyard.weights(tmp_path / "a.gguf")
    np.testing.assert_array_equal(found["long"].numpy(), FLOATS)
    for name in ("inside", "late"):
        with pytest.raises(FormatError, match=f"{name} overlaps long"):
            found[name].numpy()


def test_quantised_blocks_of_a_big_endian_file_are_refused(tmp_path):
    data = RNG.integers(0, 256, (1, 34), dtype=np.uint8)
    tensors = [("w", data, gguf.GGMLQuantizationType.Q8_0)]
    found = steelyard.weights(written(tmp_path / "a.gguf", tensors, endianess=gguf.GGUFEndian.BIG))
    with pytest.raises(FormatError, match="quantised and big-endian"):
        found["w"].numpy()


def test_metadata_of_any_size_and_text_is_written_for_the_reference(tmp_path):
    said = {"whole": 2**64 - 1, "least": -(2**63), "large": 1e300, "nan": float("nan"), "huge": 10**30, "text": "a\udcff"}
    weights = steelyard.weights({"w": np.ones((2, 32), "f4")})
    weights = weights.with_weights(weights.values(), meta={"metadata": said})
    steelyard.save(weights, tmp_path / "w.gguf")
    fields = {name: field.contents() for name, field in gguf.GGUFReader(tmp_path / "w.gguf").fields.items()}
    assert np.isnan(fields.pop("nan"))
    assert {name: fields[name] for name in said if name != "nan"} == {
        "whole": 2**64 - 1,
        "least": -(2**63),
        "large": 1e300,
        "huge": str(10**30),
        "text": "a\\udcff",
    }
    kept = steelyard.weights(tmp_path / "w.gguf").meta["metadata"]
    assert (kept["whole"], kept["least"], kept["large"]) == (2**64 - 1, -(2**63), 1e300)

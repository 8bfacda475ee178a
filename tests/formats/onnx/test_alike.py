"""Tensors that are like one before are decoded in a shorter way, from hostile files too, with what the general way gives."""

import random
from contextlib import contextmanager

import numpy as np
import onnx
import pytest
from carried import OUTSIDE, PACKAGES, folder
from onnx import TensorProto, helper

import steelyard
from steelyard.codecs import limits
from steelyard.codecs.protobuf import BYTES, tag, varint
from steelyard.errors import SteelyardError
from steelyard.formats.onnx.initializers import Alike, Initializers, Kind
from steelyard.formats.onnx.messages import model
from steelyard.storage.source import Stored, from_bytes, open_path


@contextmanager
def general_way(monkeypatch):
    """Take no tensor in the shorter way."""
    with monkeypatch.context() as patch:
        patch.setattr(Alike, "_take", lambda self, into, page, base, place, end: place)
        yield


def records(graph):
    for tensor in graph.initializers:
        runs = [[getattr(run, slot) for slot in run.__slots__] for run in tensor.elements]
        yield tensor.name, tensor.kind, tensor.dims, runs, tensor.external, tensor.strings, tensor.begin


def reading(weight):
    read = weight.read
    return [read.offset, read.dtype] if isinstance(read, Stored) else [type(read).__name__, weight.unreadable]


def answer(source):
    """Return all that is known of a model, or why it is refused."""
    try:
        listed = steelyard.formats.onnx.read(source, "all")
        facts = [[w.name, w.shape, w.dtype, w.role, w.layer, w.axes, w.encoding, *reading(w)] for w in listed.values()]
        return [*records(model(source).graph)], facts
    except SteelyardError as error:
        return str(error)


def random_tensor(rng, nth):
    name = rng.choice(
        [f"layers.{nth}.w", f"{nth}/bias", f"\N{GREEK SMALL LETTER BETA}{nth}", f"{nth}" * 30, f"{nth}" + "x" * 130]
    )
    dims = [rng.choice([0, 1, 2, 3, 150]) for _ in range(rng.randrange(3))]
    kind = rng.choice([TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64, TensorProto.DOUBLE, TensorProto.INT8])
    values = np.ones(dims, helper.tensor_dtype_to_np_dtype(kind))
    if rng.random() < 0.5:
        tensor = onnx.numpy_helper.from_array(values, name)
    else:
        tensor = helper.make_tensor(name, kind, dims, values.ravel().tolist())
    if rng.random() < 0.1:
        tensor.doc_string = "text"
    if rng.random() < 0.1:
        tensor.dims.append(rng.choice([1, 2, 1 << 40]))
    if rng.random() < 0.1:
        tensor.float_data.append(1.0)
    return tensor


def random_model(seed, count=300):
    rng = random.Random(seed)
    tensors = [random_tensor(rng, nth) for nth in range(count)]
    nodes = [helper.make_node("Gemm", ["x", tensors[0].name, tensors[1].name], ["y"])]
    return helper.make_model(helper.make_graph(nodes, "g", [], [], tensors)).SerializeToString()


@pytest.mark.parametrize("seed", range(4))
def test_random_tensors_are_listed_as_the_general_way_lists_them(seed, monkeypatch):
    data = random_model(seed)
    short = answer(from_bytes(data))
    with general_way(monkeypatch):
        assert short == answer(from_bytes(data))
    assert len(short[0]) == 300


def test_damaged_files_are_refused_as_the_general_way_refuses_them(monkeypatch):
    whole, rng, refused = random_model(5, 40), random.Random(6), 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 3])):
            data[rng.randrange(len(data))] = rng.choice([0, 1, 8, 0x10, 0x22, 0x2A, 0x42, 0x4A, 0x7F, 0x80, 0xFF])
        data = bytes(data[: rng.randrange(len(data))] if rng.random() < 0.2 else data)
        short = answer(from_bytes(data))
        refused += isinstance(short, str)
        with general_way(monkeypatch):
            assert short == answer(from_bytes(data))
    assert 25 < refused < 148


def field(number, data):
    return tag(number, BYTES) + varint(len(data)) + data


def model_of(tensors):
    return b"\x08\x0a" + field(7, b"".join(field(5, tensor) for tensor in tensors))


def many(count, name=b"w%d", size=2):
    """Return a model of as many tensors of a few numbers."""
    head = b"\x08%c\x10\x01" % size
    return model_of([head + field(8, name % nth) + field(9, bytes(4 * size)) for nth in range(count)])


@pytest.mark.parametrize("size", [2, 50], ids=["short", "longer than 127 bytes"])
def test_nearly_all_of_many_tensors_are_taken_in_the_shorter_way(size):
    first = model(from_bytes(many(5000, size=size))).graph.initializers
    assert sum(isinstance(kind, Kind) for kind in first.kinds) > 4500
    assert first.names == [f"w{nth}" for nth in range(5000)]


@pytest.mark.parametrize(
    "other",
    [
        field(12, b"abcd") + field(9, bytes(8)),  # a text about it instead of a name
        field(8, b"abcd") + field(10, bytes(8)),
        field(8, b"abcd") + b"\x4a\x07" + bytes(8),
        field(8, b"abc\xff") + field(9, bytes(8)),
        field(9, bytes(8)) + field(8, b"abcd"),
    ],
)
def test_a_tensor_that_only_begins_like_others_is_read_by_itself(other, monkeypatch):
    begin = b"\x08\x02\x10\x01"
    data = model_of([begin + each for each in (field(8, b"name") + field(9, bytes(8)), other, field(8, b"last") + other[6:])])
    short = answer(from_bytes(data))
    with general_way(monkeypatch):
        assert short == answer(from_bytes(data))


def test_a_name_that_is_not_text_has_escapes():
    assert model(from_bytes(many(3, b"w\xff%d"))).graph.initializers.names == ["w\\xff0", "w\\xff1", "w\\xff2"]


def test_a_budget_ends_at_the_same_tensor(monkeypatch):
    data, ends = many(100), []
    for memory in range(0, 40_000, 3700):
        with limits.allow(MEMORY=memory, MEMORY_PER_BYTE=0):
            short = answer(from_bytes(data))
            with general_way(monkeypatch):
                assert short == answer(from_bytes(data))
        ends.append(short)
    assert len(set(ends)) == len(ends)


def test_a_repeated_name_is_refused_where_it_is_repeated():
    tensors = [helper.make_tensor(name, TensorProto.FLOAT, [1], [0.0]) for name in "abba"]
    data = helper.make_model(helper.make_graph([], "g", [], [], tensors)).SerializeToString()
    assert "duplicate tensor name 'b'" in answer(from_bytes(data))


def test_a_tensor_of_any_kind_may_be_added():
    held = Initializers()
    (tensor,) = model(from_bytes(many(1))).graph.initializers
    held.append(tensor)
    assert [*held] == [tensor]


def check_folder(base, monkeypatch):
    files = sorted(base.rglob("*.onnx"))
    assert files
    for file in files:
        source = open_path(file)
        short = answer(source)
        with general_way(monkeypatch):
            assert short == answer(source)


@pytest.mark.parametrize("base", [folder("golden"), PACKAGES], ids=["golden", "packages"])
def test_files_of_the_corpus_are_read_as_the_general_way_reads_them(base, monkeypatch):
    check_folder(base, monkeypatch)


@pytest.mark.shared
def test_files_of_third_parties_are_read_as_the_general_way_reads_them(monkeypatch):
    check_folder(OUTSIDE, monkeypatch)

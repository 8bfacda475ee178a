"""Small tensors are decoded in a shorter way, with the same result; a page of them is searched once for what an audit looks for."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from wire import field

import steelyard
from steelyard.auditing.quick import would_run
from steelyard.codecs import limits
from steelyard.codecs.protobuf import Field, _Pages
from steelyard.errors import FormatError
from steelyard.formats.onnx.messages import model
from steelyard.formats.onnx.tensor_records import small_tensor
from steelyard.storage.source import from_bytes, open_path

TENSORS = [
    helper.make_tensor("plain", TensorProto.FLOAT, [2], [0.5, 1.0]),
    helper.make_tensor("raw", TensorProto.INT8, [3], b"\1\2\3", raw=True),
    helper.make_tensor("scalar", TensorProto.DOUBLE, [], [4.0]),
    helper.make_tensor("varints", TensorProto.INT32, [2, 1], [7, 300]),
    helper.make_tensor("wide", TensorProto.FLOAT, [200], np.zeros(200, "f4")),
    helper.make_tensor("edge", TensorProto.INT8, [128], bytes(range(128)), raw=True),  # the least number of two bytes
    helper.make_tensor("m" * 127, TensorProto.INT8, [127], bytes(range(127)), raw=True),  # the greatest of one
    helper.make_tensor("n" * 128, TensorProto.INT8, [1], b"\7", raw=True),
    helper.make_tensor("\N{GREEK SMALL LETTER BETA}", TensorProto.FLOAT, [1], [2.0]),
]


def facts(tensor):
    runs = [[getattr(run, slot) for slot in run.__slots__] for run in tensor.elements]
    return tensor.name, tensor.kind, tensor.dims, runs, tensor.external, tensor.strings, tensor.begin


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [], TENSORS)), path)
    return path


def test_a_small_tensor_has_the_facts_of_the_general_way(file, monkeypatch):
    fast = [facts(tensor) for tensor in model(open_path(file)).graph.initializers]
    monkeypatch.setattr(Field, "held", lambda _: None)
    assert fast == [facts(tensor) for tensor in model(open_path(file)).graph.initializers]
    assert {name: weight.numpy().tolist() for name, weight in steelyard.weights(file).items()} == {
        tensor.name: onnx.numpy_helper.to_array(tensor).tolist() for tensor in TENSORS
    }


@pytest.mark.parametrize(
    "tensor",
    [
        TENSORS[4],  # whose shape and length take two bytes
        helper.make_tensor("texts", TensorProto.STRING, [1], [b"x"]),
        TensorProto(name="outside", data_location=TensorProto.EXTERNAL),
    ],
    ids=["wide", "texts", "external"],
)
def test_any_other_tensor_is_left_to_the_general_way(tensor):
    assert small_tensor(tensor.SerializeToString(), 0) is None


def test_a_tensor_that_is_cut_off_is_left_to_the_general_way_which_refuses_it():
    whole = TENSORS[0].SerializeToString()
    assert small_tensor(whole, 0) is not None
    for end in range(1, len(whole)):
        made = small_tensor(whole[:end], 0)
        assert made is None or made.name == "" or not made.elements  # it ends between two fields


def test_an_audit_searches_a_page_once_whatever_the_number_of_tensors_on_it(tmp_path, monkeypatch):
    path = tmp_path / "many.onnx"
    many = [helper.make_tensor(f"w{nth}", TensorProto.FLOAT, [1], [0.0]) for nth in range(300)]
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [], many)), path)
    reads = []
    read = _Pages.read
    monkeypatch.setattr(_Pages, "read", lambda self, offset, length: reads.append(offset) or read(self, offset, length))
    assert would_run(str(path)) == []
    assert len(reads) < 30


def test_an_audit_makes_no_object_for_a_tensor_that_is_stored_in_the_file(tmp_path, monkeypatch):
    many = [helper.make_tensor(f"w{nth}", TensorProto.FLOAT, [1], [0.0]) for nth in range(300)]
    outside = TensorProto(name="outside", data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="../a")
    made = []
    init = Field.__init__
    monkeypatch.setattr(Field, "__init__", lambda self, *given: made.append(given) or init(self, *given))
    for tensors, count in ((many, 0), ([*many, outside], 1)):
        path = tmp_path / f"of{count}.onnx"
        onnx.save(helper.make_model(helper.make_graph([], "g", [], [], tensors)), path)
        made.clear()
        assert len(steelyard.audit(path).findings) == count
        assert count or len(made) < 30


LISTING = """
import sys, tracemalloc
import steelyard
steelyard.weights(sys.argv[1])
tracemalloc.start()
listed = steelyard.weights(sys.argv[1])
print(*tracemalloc.get_traced_memory())
"""
"""In a process of its own, without the threads of other tests."""


def test_a_listed_tensor_takes_little_memory(tmp_path):
    path = tmp_path / "many.onnx"
    many = [helper.make_tensor(f"layers.{nth}.w", TensorProto.FLOAT, [2], [0.0, 1.0]) for nth in range(500)]
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [], many)), path)
    held, most = map(int, subprocess.check_output([sys.executable, "-c", LISTING, path], text=True).split())
    assert held < 700 * len(many)
    assert most < 1100 * len(many)


RUNS = {
    "empty": field(4, b""),
    "of integers": field(5, b""),
    "packed and single": b"\x25\0\0\x80\x3f" + field(4, b""),
}


def of_runs(run, count, name="w"):
    return field(5, field(1, 0), field(2, 1), run * count, field(8, name))


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("held_by", ["a tensor", "small tensors", "a constant", "a list of numbers"])
def test_runs_of_elements_without_end_are_refused_before_they_take_the_memory(run, held_by):
    """A run takes two bytes of a file, and a hundred times as much in memory; libraries write one for a tensor."""
    part = {
        "a tensor": of_runs(run, 1_000),
        "small tensors": b"".join(of_runs(run, 20, f"w{nth}") for nth in range(50)),
        "a constant": field(1, field(2, "w"), field(4, "Constant"), field(5, field(1, "value"), of_runs(run, 1_000))),
        "a list of numbers": field(
            1, field(2, "w"), field(4, "Constant"), field(5, field(1, "value_ints"), field(8, b"") * 1_000)
        ),
    }[held_by]
    content = field(1, 8) + field(7, part)
    assert model(from_bytes(content, "w.onnx")).graph is not None
    with limits.allow(MEMORY=300_000, MEMORY_PER_BYTE=0), pytest.raises(FormatError, match="takes more than 300,000 bytes"):
        model(from_bytes(content, "w.onnx"))

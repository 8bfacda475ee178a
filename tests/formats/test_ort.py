"""Models that ONNX Runtime has prepared: one of its own, and others written with the FlatBuffers library."""

import carried
import flatbuffers
import numpy as np
import pytest
from executorch_programs import offsets, table

import steelyard
from steelyard.errors import FormatError
from steelyard.storage.source import open_path
from steelyard.testing import check_format


def test_a_model_that_onnx_runtime_wrote_is_read_with_roles_and_axes():
    path = carried.folder("signatures") / "net.ort"
    found = steelyard.weights(path)
    assert [(name, w.shape, w.dtype, w.role, w.axes) for name, w in found.items()] == [
        ("w", (3, 3), "float32", "kernel", "in out")
    ]
    assert np.array_equal(found["w"].numpy(), np.eye(3))
    check_format(open_path(str(path)))


def model(*tensors, nodes=()):
    """Return a model with initializers (name, array, type, length of the bytes) and nodes (operator, inputs, transB)."""
    builder = flatbuffers.Builder(0)
    made = []
    for name, array, kind, length in tensors:
        dims, data = builder.CreateNumpyVector(np.array(array.shape, "i8")), builder.CreateByteVector(array.tobytes()[:length])
        fields = {4: ("offset", builder.CreateString(name)), 8: ("offset", dims), 10: ("Int32", kind), 12: ("offset", data)}
        made.append(table(builder, fields))
    listed = []
    for operator, inputs, turned in nodes:
        words = offsets(builder, [builder.CreateString(word) for word in inputs])
        setting = table(builder, {4: ("offset", builder.CreateString("transB")), 12: ("Int64", turned)})
        fields = {
            14: ("offset", builder.CreateString(operator)),
            20: ("offset", words),
            24: ("offset", offsets(builder, [setting])),
        }
        listed.append(table(builder, fields))
    graph = table(builder, {4: ("offset", offsets(builder, made)), 8: ("offset", offsets(builder, listed))})
    builder.Finish(table(builder, {6: ("offset", table(builder, {18: ("offset", graph)}))}), b"ORTM")
    return bytes(builder.Output())


W = np.arange(6, dtype="f4").reshape(2, 3)


def test_operators_tell_what_weights_are_and_integers_are_listed_with_scope_all(tmp_path):
    tensors = [("fc.weight", W, 1, None), ("fc.bias", W[0], 1, None), ("shape", np.array([1, -1]), 7, None)]
    (tmp_path / "a.ort").write_bytes(model(*tensors, nodes=[("Gemm", ["x", "fc.weight", "fc.bias"], 1)]))
    found = steelyard.weights(tmp_path / "a.ort")
    assert [(name, w.layer, w.role, w.axes) for name, w in found.items()] == [
        ("fc.weight", "fc", "kernel", "out in"),
        ("fc.bias", "fc", "bias", "out"),
    ]
    assert steelyard.weights(tmp_path / "a.ort", scope="all")["shape"].numpy().tolist() == [1, -1]


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [(("w", W, 1, 20), "but 20 bytes are stored"), (("w", W, 8, None), "is of the type 8")],
    ids=["length", "type"],
)
def test_an_initializer_that_cannot_be_read_is_listed_and_refused(tmp_path, tensor, reason):
    (tmp_path / "a.ort").write_bytes(model(tensor))
    assert reason in steelyard.weights(tmp_path / "a.ort").unreadable["w"]


def test_a_name_twice_and_a_file_that_is_cut_off_are_refused(tmp_path):
    (tmp_path / "a.ort").write_bytes(model(("w", W, 1, None), ("w", W, 1, None)))
    with pytest.raises(FormatError, match="two initializers of the name w"):
        steelyard.weights(tmp_path / "a.ort")
    (tmp_path / "a.ort").write_bytes(model(("w", W, 1, None))[:60])
    with pytest.raises(FormatError):
        steelyard.weights(tmp_path / "a.ort")

"""What `save` does to the numbers: casts of floats, and the types of an ONNX graph."""

import io
import zipfile

import numpy as np
import pytest

import steelyard
from steelyard.cli import main
from steelyard.errors import LossyError, ShapeError


def test_floats_are_cast_and_integers_stay(tmp_path):
    net = {"w": np.array([1.0, 1 / 3]), "steps": np.array([7])}
    steelyard.save(net, tmp_path / "half.safetensors", dtype="float16")
    saved = steelyard.weights(tmp_path / "half.safetensors")
    assert [(weight.dtype, weight.numpy().tolist()) for weight in saved.values()] == [
        ("float16", np.array([1.0, 1 / 3], "f2").tolist()),
        ("int64", [7]),
    ]
    for word, error in (("int8", ShapeError), ("float8_e5m2", LossyError)):
        with pytest.raises(error):
            steelyard.save({"w": np.array([1e6])}, tmp_path / "none.npz", dtype=word)
    assert not (tmp_path / "none.npz").exists()


def test_a_graph_of_onnx_is_written_again_with_other_numbers_in_its_own_types(tmp_path):
    import onnx

    tensor = onnx.numpy_helper.from_array(np.zeros((2, 2), "f4"), "w")
    shape = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", shape[:1], shape[1:], [tensor])), tmp_path / "net.onnx")
    steelyard.save({"w": np.eye(2)}, tmp_path / "new.onnx", like=tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "new.onnx")
    assert onnx.numpy_helper.to_array(model.graph.initializer[0]).tolist() == np.eye(2, dtype="f4").tolist()
    with pytest.raises(ShapeError, match=r"no weight is called 'v'; .*rename the weights first"):
        steelyard.save({"v": np.eye(2)}, tmp_path / "new.onnx", like=tmp_path / "net.onnx")


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".safetensors", ".h5", ".pt"])
def test_a_weight_that_cannot_be_read_is_never_written_as_if_it_were_empty(tmp_path, capsys, suffix):
    header = {"descr": "<f4", "fortran_order": False, "shape": (2, 2)}
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, header)
    with zipfile.ZipFile(tmp_path / "cut.npz", "w") as archive:
        archive.writestr("w.npy", array.getvalue())  # without its numbers
    assert steelyard.weights(tmp_path / "cut.npz").unreadable
    assert main(["convert", str(tmp_path / "cut.npz"), str(tmp_path / f"out{suffix}")]) == 2
    assert "1 of 1 weights, which cannot be read: 'w'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["cut.npz"]

"""ONNX models that the reference library wrote, read again, and written with new numbers."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import steelyard
from steelyard.errors import FormatError, UnsafeFileError
from steelyard.formats import onnx as onnx_format
from steelyard.storage.source import Source, from_bytes, open_path
from steelyard.testing import check_format

RNG = np.random.default_rng(0)


def model(nodes=(), initializers=(), functions=(), sparse=(), **facts):
    graph = helper.make_graph(list(nodes), "g", [], [], list(initializers), sparse_initializer=list(sparse))
    return helper.make_model(graph, functions=list(functions), **facts)


def tensor(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def saved(tmp_path, proto, name="model.onnx"):
    path = tmp_path / name
    path.write_bytes(proto.SerializeToString())
    return path


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)


KINDS = {name: number for name, number in TensorProto.DataType.items() if name not in ("UNDEFINED", "STRING")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_every_type_is_read_as_the_reference_reads_it(tmp_path, kind, raw):
    dtype = helper.tensor_dtype_to_np_dtype(KINDS[kind])
    numbers = np.array([0, 1, -1, -2, 1, 0, 1], np.float32)
    if kind.startswith("U") or kind in ("BOOL", "FLOAT8E8M0"):
        numbers = abs(numbers)
    elif kind in ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16"):
        numbers = floats(7)
    array = numbers.astype(dtype)
    if kind == "INT64":
        array[0] = -(2**60)
    if kind == "UINT64":
        array[0] = 2**64 - 1
    proto = numpy_helper.from_array(array, "t") if raw else helper.make_tensor("t", KINDS[kind], [7], array)
    assert proto.HasField("raw_data") is raw
    weight = steelyard.weights(saved(tmp_path, model(initializers=[proto])))["t"]
    expected = numpy_helper.to_array(proto)
    assert (weight.dtype, weight.encoding) == (expected.dtype.name, kind)
    assert weight.numpy().dtype == expected.dtype
    assert weight.numpy().tobytes() == expected.tobytes()
    assert weight.read(3, 6).tobytes() == expected[3:6].tobytes()


def test_texts_are_listed_and_refused(tmp_path):
    proto = helper.make_tensor("labels", TensorProto.STRING, [2], [b"a", b"b"])
    found = steelyard.weights(saved(tmp_path, model(initializers=[proto, tensor("w", floats(2))])))
    with pytest.raises(FormatError, match="labels is of the type STRING"):
        found["labels"].numpy()
    assert found["w"].shape == (2,)


def test_a_model_has_its_versions_and_metadata_in_meta(tmp_path):
    proto = model(initializers=[tensor("w", floats(2))], opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    proto.producer_name = "a tool"
    helper.set_model_props(proto, {"author": "me"})
    meta = steelyard.weights(saved(tmp_path, proto)).meta
    assert (meta["ir_version"], meta["opset"], meta["producer"], meta["metadata"]) == (
        10,
        {"ai.onnx": 21},
        "a tool",
        {"author": "me"},
    )


def constant(name, **value):
    return helper.make_node("Constant", [], [name], **value)


def test_constants_of_floats_are_weights_and_others_are_listed_with_scope_all(tmp_path):
    nodes = [
        constant("a", value=tensor("", floats(2, 3))),
        constant("b", value_float=0.5),
        constant("c", value_floats=[1.5, 2.5]),
        constant("d", value_int=-7),
        constant("e", value_ints=[3, -4, 5]),
        constant("axes", value=tensor("", np.array([0, 1]))),
    ]
    path = saved(tmp_path, model(nodes))
    assert list(steelyard.weights(path)) == ["a", "b", "c"]
    found = steelyard.weights(path, scope="all")
    assert {name: w.numpy().tolist() for name, w in found.items() if name != "a"} == {
        "b": 0.5,
        "c": [1.5, 2.5],
        "d": -7,
        "e": [3, -4, 5],
        "axes": [0, 1],
    }


def branches(name, then, other):
    """An If whose branches have an initializer each, both of the same name."""
    graphs = [
        helper.make_graph(
            [helper.make_node("Identity", ["w"], [f"{label}_out"])],
            label,
            [],
            [helper.make_tensor_value_info(f"{label}_out", 1, None)],
            [tensor("w", array)],
        )
        for label, array in (("then", then), ("else", other))
    ]
    return helper.make_node("If", ["c"], ["y"], name=name, then_branch=graphs[0], else_branch=graphs[1])


def test_inner_graphs_and_functions_are_listed_and_a_duplicate_name_has_its_path(tmp_path):
    first, second, third = floats(2), floats(2), floats(2)
    function = helper.make_function("d", "f", [], ["k"], [constant("k", value=tensor("", third))], [helper.make_opsetid("", 18)])
    path = saved(tmp_path, model([branches("pick", first, second)], [tensor("v", floats(1))], [function]))
    found = steelyard.weights(path)
    assert list(found) == ["v", "w", "/pick.else_branch/w", "k"] or list(found) == ["v", "w", "/pick.then_branch/w", "k"]
    arrays = [found[name].numpy().tolist() for name in list(found)[1:3]]
    assert sorted(arrays) == sorted([first.tolist(), second.tolist()])
    np.testing.assert_array_equal(found["k"].numpy(), third)


def test_two_initializers_of_the_same_name_in_one_graph_are_refused(tmp_path):
    with pytest.raises(FormatError, match="duplicate tensor name 'w'"):
        steelyard.weights(saved(tmp_path, model(initializers=[tensor("w", floats(1)), tensor("w", floats(1))])))


NODES = {
    "Gemm, turned": (helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1), (3, 4), "kernel", "out in"),
    "Gemm": (helper.make_node("Gemm", ["x", "w"], ["y"]), (3, 4), "kernel", "in out"),
    "MatMul": (helper.make_node("MatMul", ["x", "w"], ["y"]), (3, 4), "kernel", "in out"),
    "MatMul from the left": (helper.make_node("MatMul", ["w", "x"], ["y"]), (3, 4), "kernel", "out in"),
    "Conv 1": (helper.make_node("Conv", ["x", "w"], ["y"]), (3, 4, 5), "kernel", "out in k"),
    "Conv 3": (helper.make_node("Conv", ["x", "w"], ["y"]), (3, 4, 5, 5, 5), "kernel", "out in kd kh kw"),
    "ConvTranspose": (helper.make_node("ConvTranspose", ["x", "w"], ["y"]), (3, 4, 5, 5), "kernel", "in out kh kw"),
    "Gather": (helper.make_node("Gather", ["w", "x"], ["y"]), (9, 4), "embedding", "vocab out"),
    "PRelu": (helper.make_node("PRelu", ["x", "w"], ["y"]), (4, 1, 1), "other", "channel 1 1"),
    "an operator without roles": (helper.make_node("Sin", ["w"], ["y"]), (), "other", ""),
}


@pytest.mark.parametrize("case", NODES)
def test_the_operator_that_takes_a_tensor_determines_its_role_and_axes(tmp_path, case):
    node, shape, role, axes = NODES[case]
    node.name = "layer1/op"
    weight = steelyard.weights(saved(tmp_path, model([node], [tensor("w", floats(*shape))])))["w"]
    assert (weight.role, weight.axes) == (role, axes)
    assert weight.layer == ("layer1/op" if role != "other" or axes else "")


def test_roles_pass_through_operators_that_pass_a_tensor_on_and_a_transpose_permutes_the_axes(tmp_path):
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale"], ["d"]),
        helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
    ]
    arrays = [tensor("w", np.ones((3, 4), np.int8)), tensor("scale", np.float32(2)), tensor("b", floats(3))]
    found = steelyard.weights(saved(tmp_path, model(nodes, arrays)))
    assert [(w.role, w.axes) for w in found.values()] == [("kernel", "out in"), ("other", ""), ("bias", "out")]


def test_a_norm_that_was_exported_as_several_operators_has_roles_by_its_names(tmp_path):
    nodes = [helper.make_node("Mul", ["x", "norm.weight"], ["m"]), helper.make_node("Add", ["m", "norm.bias"], ["y"])]
    found = steelyard.weights(saved(tmp_path, model(nodes, [tensor("norm.weight", floats(3)), tensor("norm.bias", floats(3))])))
    assert [(w.role, w.layer) for w in found.values()] == [("scale", "norm"), ("offset", "norm")]


def test_a_linear_model_has_weights_and_a_tree_model_is_refused_by_name(tmp_path):
    attributes = {"coefficients": [1.0, 2.0, 3.0, 4.0], "intercepts": [5.0, 6.0]}
    linear = helper.make_node("LinearClassifier", ["x"], ["y"], name="lin", domain="ai.onnx.ml", **attributes)
    found = steelyard.weights(saved(tmp_path, model([linear])))
    assert {n: (w.numpy().tolist(), w.role, w.axes) for n, w in found.items()} == {
        "lin.coefficients": ([[1, 2], [3, 4]], "kernel", "out in"),
        "lin.intercepts": ([5, 6], "bias", "out"),
    }
    tree = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", nodes_values=[1.0, 2.0])
    with pytest.raises(FormatError, match=r"a tree model \(TreeEnsembleRegressor\)"):
        steelyard.weights(saved(tmp_path, model([tree])))


def sparse(dims, indices, values):
    return helper.make_sparse_tensor(tensor("s", np.float32(values)), tensor("i", np.int64(indices)), dims)


@pytest.mark.parametrize("indices", [[1, 5], [[0, 1], [1, 2]]], ids=["linear", "coordinates"])
def test_a_sparse_tensor_is_read_dense(tmp_path, indices):
    weight = steelyard.weights(saved(tmp_path, model(sparse=[sparse([2, 3], indices, [7, 8])])))["s"]
    assert weight.numpy().tolist() == [[0, 7, 0], [0, 0, 8]]
    assert weight.read(4, 6).tolist() == [0, 8]


@pytest.mark.parametrize(
    ("dims", "indices", "what"),
    [([2, 3], [1, 6], "outside"), ([2, 3], [5, 1], "do not increase"), ([2, 3], [[0, 1], [1, 3]], "outside"), ([1 << 20, 1 << 20], [0, 1], "stores only 2 of its"), ([2, 3], [1], "do not fit")],
)  # fmt: skip
def test_a_sparse_tensor_that_does_not_fit_is_refused(tmp_path, dims, indices, what):
    weight = steelyard.weights(saved(tmp_path, model(sparse=[sparse(dims, indices, [7, 8])])))["s"]
    with pytest.raises(FormatError, match=what):
        weight.numpy()


def external(tmp_path, name="model.onnx", location="data.bin"):
    arrays = {"w": floats(4, 300), "b": floats(300)}
    proto = model([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], [tensor(n, a) for n, a in arrays.items()])
    onnx.save(proto, tmp_path / name, save_as_external_data=True, location=location, size_threshold=0)
    return tmp_path / name, arrays


def test_external_data_is_read_from_the_model_s_own_folder(tmp_path):
    path, arrays = external(tmp_path)
    found = check_format(open_path(path))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name].numpy(), array)
    (tmp_path / "data.bin").unlink()
    again = steelyard.weights(path)
    with pytest.raises(FileNotFoundError):
        again["w"].numpy()


def test_external_data_elsewhere_is_refused(tmp_path):
    path, _ = external(tmp_path)
    proto = onnx.load(path, load_external_data=False)
    (tmp_path / "inner").mkdir()
    for location in ("../data.bin", str(tmp_path / "data.bin")):
        proto.graph.initializer[0].external_data[0].value = location
        weight = steelyard.weights(saved(tmp_path / "inner", proto))["w"]
        with pytest.raises(UnsafeFileError, match="leads out of the folder"):
            weight.numpy()


def changed(found):
    """The weights with other numbers, each in its own type."""
    return found.from_vector(np.concatenate([np.rint(3 * np.sin(np.arange(w.size))).ravel() for w in found.values()]))


def mixed_model():
    """A model with tensors in every kind of field, some of them in inner graphs."""
    numbers = np.array([1, -2, 0.5, 3], np.float32)
    typed = [
        helper.make_tensor(name, kind, [4], numbers.astype(helper.tensor_dtype_to_np_dtype(kind)))
        for name, kind in (("f", 1), ("h", 10), ("bf", 16), ("d", 11), ("i4", 22), ("i64", 7), ("f6", 27))
    ]
    nodes = [
        constant("c", value_floats=[1.0, 2.0, 3.0]),
        constant("one", value_float=4.0),
        branches("pick", floats(2), floats(2)),
    ]
    return model(nodes, [tensor("raw", floats(3, 2)), *typed])


def arrays_of(path):
    return {name: weight.numpy() for name, weight in steelyard.weights(path).items()}


def test_a_model_is_written_with_new_numbers_and_the_rest_unchanged(tmp_path):
    path = saved(tmp_path, mixed_model())
    new = changed(steelyard.weights(path))
    steelyard.save(new, tmp_path / "new.onnx")
    for name, array in arrays_of(tmp_path / "new.onnx").items():
        np.testing.assert_array_equal(array, new[name].numpy(), err_msg=name)
    before, after = onnx.load(path), onnx.load(tmp_path / "new.onnx")
    assert [node.op_type for node in before.graph.node] == [node.op_type for node in after.graph.node]
    for tensor_before, tensor_after in zip(before.graph.initializer, after.graph.initializer, strict=True):
        assert tensor_before.dims == tensor_after.dims
        np.testing.assert_array_equal(numpy_helper.to_array(tensor_after), new[tensor_after.name].numpy())
    assert np.isclose(after.graph.node[1].attribute[0].f, new["one"].numpy())


def test_unchanged_weights_give_the_same_bytes(tmp_path):
    path = saved(tmp_path, mixed_model())
    steelyard.save(steelyard.weights(path), tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == path.read_bytes()


def test_the_runtime_computes_with_the_new_numbers(tmp_path):
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, [1, 2])], [helper.make_tensor_value_info("y", 1, [1, 3])],
        [tensor("w", floats(3, 2)), tensor("b", floats(3))],
    )  # fmt: skip
    path = saved(tmp_path, helper.make_model(graph))
    new = changed(steelyard.weights(path))
    steelyard.save(new, path)  # over the model itself
    from onnx.reference import ReferenceEvaluator

    x = floats(1, 2)
    (y,) = ReferenceEvaluator(str(path)).run(None, {"x": x})
    np.testing.assert_allclose(y, x @ new["w"].numpy().T + new["b"].numpy(), rtol=1e-6)


def test_external_data_is_written_next_to_the_new_model(tmp_path):
    path, arrays = external(tmp_path)
    new = changed(steelyard.weights(path))
    with pytest.raises(FormatError, match=r"which model\.onnx uses; save to another folder"):
        steelyard.save(new, tmp_path / "new.onnx")
    (tmp_path / "copy").mkdir()
    steelyard.save(new, tmp_path / "copy/new.onnx")
    for found in onnx.load(tmp_path / "copy/new.onnx").graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(found), new[found.name].numpy())
    for name, array in arrays.items():
        np.testing.assert_array_equal(steelyard.weights(path)[name].numpy(), array)


def test_weights_of_another_origin_or_shape_are_not_written(tmp_path):
    path = saved(tmp_path, model(initializers=[tensor("w", floats(2))]))
    with pytest.raises(FormatError, match="needs the graph of a model"):
        steelyard.save({"w": floats(2)}, tmp_path / "new.onnx")
    found = steelyard.weights(path)
    with pytest.raises(FormatError, match="no weight called 'v'"):
        steelyard.save(found.rename("w", "v"), tmp_path / "new.onnx")
    wider = steelyard.Weights([found["w"].replace(shape=(1, 2))], meta=found.meta)
    with pytest.raises(FormatError, match=r"w is \[2\] float32 in the original model, but \[1, 2\] float32 here"):
        steelyard.save(wider, tmp_path / "new.onnx")
    assert not (tmp_path / "new.onnx").exists()


def test_listing_a_model_of_two_gigabytes_reads_little_of_it(tmp_path):
    """Forty initializers of 48 MB, in a sparse file."""
    raw = 48 << 20
    head = onnx.TensorProto(name="w00", data_type=1, dims=[raw // 4], raw_data=b"").SerializeToString()

    def varint(value):
        return bytes([value & 127 | 128, *varint(value >> 7)]) if value > 127 else bytes([value])

    head = head.removesuffix(b"\x4a\x00") + b"\x4a" + varint(raw)
    entry = b"\x2a" + varint(len(head) + raw)
    size = 40 * (len(entry) + len(head) + raw)
    path = tmp_path / "big.onnx"
    with path.open("wb") as file:
        file.write(b"\x08\x08\x3a" + varint(size))
        for place in range(40):
            file.write(entry + head.replace(b"w00", b"w%02d" % place))
            file.seek(raw, os.SEEK_CUR)
        file.truncate()
    opened, asked = open_path(path), []

    def fill(offset, buffer):
        asked.append(len(buffer))
        opened.fill(offset, buffer)

    found = onnx_format.read(Source(str(path), opened.size, fill, opened.beside), "model")
    assert (len(found), found.nbytes) == (40, 40 * raw)
    assert sum(asked) < 2_000_000
    assert found["w39"].read(5, 8).tolist() == [0, 0, 0]


def test_a_model_is_recognised_without_its_suffix():
    data = model(initializers=[tensor("w", floats(2))]).SerializeToString()
    assert onnx_format.sniff(from_bytes(data, "x"))
    assert not onnx_format.sniff(from_bytes(b"\x08\x01\x12\x00", "saved_model.pb"))
    assert not onnx_format.sniff(from_bytes(data[:-3], "x"))

"""Make small files of formats of graphs with their own libraries, and pack them: python tests/data/make_graphs.py KIND

KIND is tensorflow, openvino or coreml. The library is needed, and the project has the first alone: run the others in an
environment of their own.
"""

import io
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
RANDOM = np.random.default_rng(0)


def tensorflow(folder):
    """Write a frozen graph, and the values of its constants as TensorFlow decodes them."""
    import tensorflow as tf
    from tensorflow.core.framework import types_pb2

    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [1, 8, 8, 3], "x")
        kernel = tf.identity(tf.constant(RANDOM.normal(size=(3, 3, 3, 4)).astype("f4"), name="conv/kernel"), "conv/kernel/read")
        y = tf.nn.bias_add(
            tf.nn.conv2d(x, kernel, 1, "SAME", name="conv"), tf.constant([0.5] * 4, name="conv/bias"), name="conv/add"
        )
        dense = tf.constant(RANDOM.normal(size=(5, 4)).astype("f4"), name="dense/kernel")
        tf.matmul(tf.reduce_mean(y, [1, 2]), dense, transpose_b=True, name="dense/MatMul")
        tf.constant(2.5, tf.float32, [2, 3], name="filled")
        tf.constant([[True, False]], name="flags")
        tf.constant(["a", "b"], name="words")
        for word in ("float16", "bfloat16", "float64", "int32", "int64", "uint8", "complex64"):
            tf.constant([[1, 2, 3]], word, name=f"t/{word}")
    message = graph.as_graph_def()
    for node in message.node:  # as lists, which older versions wrote
        tensor = node.attr["value"].tensor
        if node.name in ("t/float16", "t/int32", "t/int64", "t/float64", "t/bfloat16"):
            values = tf.make_ndarray(tensor).ravel()
            tensor.tensor_content = b""
            fields = {types_pb2.DT_HALF: "half_val", types_pb2.DT_BFLOAT16: "half_val", types_pb2.DT_DOUBLE: "double_val"}
            field = {**fields, types_pb2.DT_INT32: "int_val", types_pb2.DT_INT64: "int64_val"}[tensor.dtype]
            getattr(tensor, field)[:] = values.view("u2").tolist() if field == "half_val" else [-v for v in values.tolist()]
    constants = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in message.node if node.op == "Const"}
    (folder / "frozen.pb").write_bytes(message.SerializeToString())
    words = {name: array.astype("f4") if array.dtype.name == "bfloat16" else array for name, array in constants.items()}
    np.savez(folder / "frozen.npz", **{name: array for name, array in words.items() if array.dtype != object})


def openvino(folder):
    """Write nets with weights in float32, float16 and eight bits, and their constants as OpenVINO gives them."""
    import openvino as ov
    from openvino import opset13 as op

    x = op.parameter([1, 3, 8, 8], np.float32, name="x")
    kernel = op.constant(RANDOM.normal(size=(4, 3, 3, 3)).astype("f4"), name="conv/kernel")
    conv = op.convolution(x, kernel, [1, 1], [0, 0], [0, 0], [1, 1], name="conv")
    flat = op.reshape(conv, op.constant(np.array([1, -1]), name="shape"), False)
    codes = op.convert(op.constant(RANDOM.integers(0, 255, (5, 144), "u1"), name="fc/codes"), np.float32)
    scaled = op.multiply(codes, op.constant(RANDOM.normal(size=(5, 1)).astype("f4"), name="fc/scale"))
    fc = op.matmul(flat, scaled, False, True, name="fc")
    half = op.convert(op.constant(RANDOM.normal(size=(5, 2)).astype("f2"), name="out/half"), np.float32)
    model = ov.Model([op.matmul(fc, half, False, False, name="out")], [x], "net")
    ov.save_model(model, folder / "net.xml", compress_to_fp16=False)
    read = ov.Core().read_model(folder / "net.xml")
    nodes = [node for node in read.get_ordered_ops() if node.get_type_name() == "Constant"]
    np.savez(folder / "net.npz", **{node.get_friendly_name(): node.data for node in nodes})


def coreml(folder):
    """Write networks and programs with weights in full, quantised and with palettes, and their numbers as coremltools decodes them."""
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb
    from coremltools.models import datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder, quantization_utils

    builder = NeuralNetworkBuilder([("x", datatypes.Array(3, 8, 8))], [("y", datatypes.Array(5))])
    kernel, dense = RANDOM.normal(size=(3, 3, 3, 4)).astype("f4"), RANDOM.normal(size=(5, 144)).astype("f4")
    sizes = {"kernel_channels": 3, "output_channels": 4, "height": 3, "width": 3, "stride_height": 1, "stride_width": 1}
    more = {"border_mode": "valid", "groups": 1, "W": kernel, "b": np.ones(4), "has_bias": True}
    builder.add_batchnorm("bn", 3, *(RANDOM.uniform(1, 2, 3) for _ in range(4)), input_name="x", output_name="n")
    builder.add_convolution("conv", **sizes, **more, input_name="n", output_name="c")
    builder.add_flatten("flat", 0, "c", "f")
    builder.add_inner_product("fc", dense, np.ones(5), 144, 5, True, "f", "y")
    plain = ct.models.MLModel(builder.spec, skip_model_load=True)
    plain.save(str(folder / "net.mlmodel"))
    arrays = {"conv.weights": kernel.transpose(3, 2, 0, 1), "fc.weights": dense}
    np.savez(folder / "net.npz", **arrays)
    for name, bits, mode in (
        ("half", 16, "linear"),
        ("linear8", 8, "linear"),
        ("linear3", 3, "linear"),
        ("palette4", 4, "linear_lut"),
    ):
        spec = ct.models.utils.load_spec(str(folder / "net.mlmodel"))
        made = quantization_utils.quantize_weights(ct.models.MLModel(spec, skip_model_load=True), bits, mode)
        made = getattr(made, "_spec", made)
        (folder / f"{name}.mlmodel").write_bytes(made.SerializeToString())
        layers = {layer.name: layer for layer in made.neuralNetwork.layers}
        if bits < 16:
            for word, shape in (("conv.convolution", (4, 3, 3, 3)), ("fc.innerProduct", (5, 144))):
                layer, kind = word.split(".")
                weights = getattr(layers[layer], kind).weights
                quantization_utils._dequantize_wp(weights, shape)
                arrays[f"{layer}.weights"] = np.array(weights.floatValue, "f4").reshape(shape)
            np.savez(folder / f"{name}.npz", **arrays)

    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 64))], opset_version=ct.target.iOS18)
    def program(x):
        return mb.linear(
            x=x, weight=RANDOM.normal(size=(32, 64)).astype("f4"), bias=RANDOM.normal(size=32).astype("f4"), name="fc"
        )

    import coremltools.optimize.coreml as cto

    def numbers(model):
        held = cto.get_weights_metadata(cto.decompress_weights(model), weight_threshold=8)
        return {name: fact.val for name, fact in held.items()}

    settings = {"compute_precision": ct.precision.FLOAT32, "skip_model_load": True}
    for name, target, optimise in (
        ("program", ct.target.iOS18, None),
        (
            "program-palette",
            ct.target.iOS18,
            lambda m: cto.palettize_weights(m, config(cto.OpPalettizerConfig("uniform", nbits=4))),
        ),
        (
            "program-linear",
            ct.target.iOS18,
            lambda m: cto.linear_quantize_weights(m, config(cto.OpLinearQuantizerConfig("linear"))),
        ),
        ("program-block", ct.target.iOS18, lambda m: cto.linear_quantize_weights(m, config(block(cto)))),
        (
            "program-sparse",
            ct.target.iOS18,
            lambda m: cto.prune_weights(m, config(cto.OpMagnitudePrunerConfig(target_sparsity=0.7))),
        ),
    ):
        model = ct.convert(program, minimum_deployment_target=target, **settings)
        model = optimise(model) if optimise else model
        model.save(str(folder / f"{name}.mlpackage"))
        np.savez(folder / f"{name}.npz", **numbers(model))


def config(op):
    import coremltools.optimize.coreml as cto

    op.weight_threshold = 8
    return cto.OptimizationConfig(global_config=op)


def block(cto):
    return cto.OpLinearQuantizerConfig("linear_symmetric", dtype="int4", granularity="per_block", block_size=32)


def main():
    """Make the files of one library, and pack them."""
    kind = sys.argv[1]
    folder = Path(tempfile.mkdtemp())
    globals()[kind](folder)
    with tarfile.open(HERE / f"{kind}.tar.xz", "w:xz") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = tarfile.TarInfo(str(path.relative_to(folder)))
                entry.size = path.stat().st_size
                archive.addfile(entry, io.BytesIO(path.read_bytes()))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

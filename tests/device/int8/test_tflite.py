"""Int8 models of TensorFlow Lite give, as quantised programs, the codes of TensorFlow's own kernels, bit for bit."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from carried import SHARED
from keras import layers
from toolchains import STRICT, run, tool

import steelyard
from steelyard.device.int8.tflite import quantized_of_tflite
from steelyard.errors import ShapeError

pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs", "ignore:.*tf.lite.Interpreter is deprecated")
KERNELS = tf.lite.experimental.OpResolverType
EXAMPLES = np.random.default_rng(0).standard_normal((20, 12, 10, 3)).astype("float32")


def built():
    """Return a net with all operators that are known, but for those of `others`."""
    keras.utils.set_random_seed(0)
    given = keras.Input((12, 10, 3))
    first = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(given)
    wide = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(first)
    second = layers.Conv2D(6, 1, activation="relu6")(wide)
    merged = [layers.Add()([first, second]), layers.Multiply()([first, second]), layers.Subtract()([first, second])]
    pooled = layers.MaxPooling2D(2, padding="same")(layers.Concatenate()(merged))
    means = layers.Flatten()(layers.AveragePooling2D(2, padding="same")(pooled))
    flat = layers.Concatenate()([means, layers.GlobalAveragePooling2D()(pooled)])
    hidden = layers.Dense(7, activation="sigmoid")(layers.Dense(8, activation="tanh")(flat))
    return keras.Model(given, layers.Dense(5, activation="softmax")(hidden))


def others():
    """Return a net with padding of its own, a batch norm, and activations by tables."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.ZeroPadding2D(((1, 0), (2, 1))),
            layers.Conv2D(4, (3, 2), activation="leaky_relu"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(4, 1, activation="relu"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


def converted(net, path, kind=tf.int8):
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([each[None]] for each in EXAMPLES)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = kind
    path.write_bytes(converter.convert())
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return converted(built(), tmp_path_factory.mktemp("tflite") / "net.tflite")


def ran(path, codes, kernels):
    """Return the codes of all tensors by name, or of the output alone."""
    preserve = kernels is KERNELS.BUILTIN_REF
    interpreter = tf.lite.Interpreter(
        str(path), experimental_op_resolver_type=kernels, experimental_preserve_all_tensors=preserve
    )
    interpreter.allocate_tensors()
    given, output = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]
    wanted = interpreter.get_tensor_details() if preserve else [output]
    found = {each["name"]: [] for each in wanted if each["dtype"] == np.int8}
    for code in codes:
        interpreter.set_tensor(given, code[None])
        interpreter.invoke()
        for each in wanted:
            if each["name"] in found:
                found[each["name"]].append(interpreter.get_tensor(each["index"]))
    return {name: np.concatenate(values) for name, values in found.items()}, output["name"]


def codes_of(program, count=20):
    return np.random.default_rng(3).integers(-128, 128, (count, *program.input_shapes[0])).astype("int8")


def compare(path):
    program = quantized_of_tflite(path, rounding="double")
    codes = codes_of(program)
    wanted, _ = ran(path, codes, KERNELS.BUILTIN_REF)
    for step, found in zip(program.steps, program.values(codes)[1:], strict=True):
        if type(step.operation).__name__ != "Fixed":
            assert np.array_equal(found.reshape(wanted[step.name].shape), wanted[step.name]), step.name
    return program


def test_every_value_is_that_of_the_reference_kernels(model):
    program = compare(model)
    kinds = {type(step.operation).__name__ for step in program.steps}
    assert kinds == {"Sums", "Added", "Multiplied", "Joined", "Pooling", "Means", "Moves", "Lookup", "Shares"}


def test_single_rounding_gives_the_outputs_of_xnnpack(model):
    program = quantized_of_tflite(model, rounding="single")
    codes = codes_of(program)
    wanted, output = ran(model, codes, KERNELS.AUTO)
    assert np.array_equal(program.run(codes), wanted[output])


def test_padding_and_tables_are_those_of_the_reference_kernels(tmp_path):
    compare(converted(others(), tmp_path / "net.tflite"))


@pytest.mark.parametrize("rounding", ["single", "double"])
def test_a_model_becomes_c_that_gives_its_codes(model, rounding, tmp_path):
    made = steelyard.export(model, tmp_path / "net.c", forward=True, dtype="int8", rounding=rounding)
    run(tool("gcc"), "-std=c99", *STRICT, "net.c", "net_test.c", "-o", "test", cwd=tmp_path)
    assert b"0 codes differ" in run("./test", cwd=tmp_path)
    wanted, output = ran(model, made.forward.inputs[0], KERNELS.BUILTIN_REF if rounding == "double" else KERNELS.AUTO)
    assert np.array_equal(made.forward.outputs[0], wanted[output])


def test_a_model_that_takes_floats_is_run_on_codes(tmp_path):
    path = converted(keras.Sequential([keras.Input((12, 10, 3)), layers.Flatten(), layers.Dense(3)]), tmp_path / "n", tf.float32)
    program = quantized_of_tflite(path, rounding="double")
    interpreter = tf.lite.Interpreter(str(path), experimental_op_resolver_type=KERNELS.BUILTIN_REF)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], EXAMPLES[:1])
    interpreter.invoke()
    wanted = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert np.array_equal(program.predict(EXAMPLES[:1]), wanted)


def test_a_float_model_is_refused(tmp_path):
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Sequential([keras.Input((4,)), layers.Dense(3)]))
    (tmp_path / "net.tflite").write_bytes(converter.convert())
    with pytest.raises(ShapeError, match="no codes of 8 bits"):
        quantized_of_tflite(tmp_path / "net.tflite", rounding="double")


@pytest.mark.shared
def test_the_golden_model_gives_the_codes_of_both_kernels(tmp_path):
    path = SHARED / "embedded" / "golden" / "q01_int8.tflite"
    compare(path)
    program = quantized_of_tflite(path, rounding="single")
    wanted, output = ran(path, codes_of(program), KERNELS.AUTO)
    assert np.array_equal(program.run(codes_of(program)), wanted[output])
    steelyard.export(path, tmp_path / "net.c", forward=True, dtype="int8", rounding="single")
    run(tool("gcc"), "-std=c99", *STRICT, "net.c", "net_test.c", "-o", "test", cwd=tmp_path)
    assert b"0 codes differ" in run("./test", cwd=tmp_path)

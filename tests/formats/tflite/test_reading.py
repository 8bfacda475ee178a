"""TensorFlow Lite models that TensorFlow's own converter wrote, and real ones, against its interpreter."""

import os

import carried
import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

import steelyard
from steelyard.codecs.flatbuffers import root
from steelyard.errors import FormatError
from steelyard.formats import tflite
from steelyard.storage.source import from_bytes, open_path
from steelyard.testing import check_weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected:UserWarning"),
]


def trained(*layers, shape, targets=2, steps=3):
    """A small net after a few steps of training, so that no bias is zero."""
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input(shape, batch_size=1), *layers])
    net.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    net.fit(x, np.ones((8, *net.output_shape[1:]), np.float32), epochs=steps, verbose=0, batch_size=1)
    return net, x


def converted(tmp_path, net, **settings):
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    for key, value in settings.items():
        setattr(converter, key, value)
    path = tmp_path / "model.tflite"
    path.write_bytes(converter.convert())
    return path


@pytest.fixture(scope="module")
def cnn():
    layers = [
        keras.layers.Conv2D(3, 2, name="conv"),
        keras.layers.DepthwiseConv2D(2, name="deep"),
        keras.layers.Flatten(),
        keras.layers.Dense(2, name="fc"),
    ]
    return trained(*layers, shape=(5, 5, 1))


def test_a_net_s_kernels_and_biases_have_their_roles_axes_and_numbers(tmp_path, cnn):
    net, _ = cnn
    found = steelyard.weights(converted(tmp_path, net))
    check_weights(found)
    kernels = {w.axes: w.numpy() for w in found.select(role="kernel").values()}
    np.testing.assert_array_equal(kernels["out kh kw in"], net.get_layer("conv").kernel.numpy().transpose(3, 0, 1, 2))
    np.testing.assert_array_equal(kernels["1 kh kw out"], net.get_layer("deep").kernel.numpy().reshape(1, 2, 2, 3))
    np.testing.assert_array_equal(kernels["out in"], net.get_layer("fc").kernel.numpy().T)
    biases = [w.numpy() for w in found.select(role="bias").values()]
    assert all(any(np.array_equal(bias, layer.bias.numpy()) for bias in biases) for layer in net.layers if layer.weights)


def test_quantised_weights_are_read_as_stored_and_dequantised_on_request(tmp_path, cnn):
    net, x = cnn
    path = converted(
        tmp_path,
        net,
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=lambda: ([row[None]] for row in x),
    )
    found = steelyard.weights(path)
    check_weights(found)
    stored = {w.axes: w for w in found.select(role="kernel").values()}
    assert {axes: (w.dtype, w.encoding) for axes, w in stored.items()} == {
        "out kh kw in": ("int8", "int8 per channel, axis 0"),
        "1 kh kw out": ("int8", "int8 per channel, axis 3"),
        "out in": ("int8", "int8 per channel, axis 0"),
    }
    real = found.effective()
    check_weights(real)
    assert [w.dtype for w in real.values()] == ["float32"] * len(real)
    assert list(found) == list(real)
    details = {d["name"]: d for d in tf.lite.Interpreter(str(path)).get_tensor_details()}
    for name, weight in real.items():
        scheme = details[name]["quantization_parameters"]
        shape = [1] * len(weight.shape)
        if len(scheme["scales"]) > 1:
            shape[scheme["quantized_dimension"]] = -1
        scales, zeros = scheme["scales"].reshape(shape), scheme["zero_points"].reshape(shape)
        expected = (found[name].numpy().astype(np.float64) - zeros) * scales
        np.testing.assert_array_equal(weight.numpy(), expected.astype(np.float32))
        np.testing.assert_array_equal(weight.read(1, weight.size), weight.numpy().ravel()[1:])
    kernel = net.get_layer("fc").kernel.numpy().T
    (dense,) = [w for w in real.values() if w.axes == "out in"]
    assert abs(dense.numpy() - kernel).max() <= abs(kernel).max() / 127


def test_a_sparse_kernel_is_read_dense(tmp_path):
    net, _ = trained(keras.layers.Dense(32, name="fc"), shape=(32,))
    rng = np.random.default_rng(1)
    kernel = net.get_layer("fc").kernel.numpy() * np.kron(rng.random((2, 32)) < 0.3, np.ones((16, 1)))
    net.get_layer("fc").kernel.assign(kernel)
    path = converted(tmp_path, net, optimizations=[tf.lite.Optimize.EXPERIMENTAL_SPARSITY])
    (weight,) = steelyard.weights(path).select(role="kernel").values()
    assert weight.encoding == "float32 sparse"
    np.testing.assert_array_equal(weight.numpy(), kernel.T.astype(np.float32))
    np.testing.assert_array_equal(weight.read(100, 300), weight.numpy().ravel()[100:300])


def test_the_body_of_a_loop_is_listed_with_the_kernels_of_its_gates(tmp_path):
    net, _ = trained(keras.layers.GRU(4, name="gru", activation="relu"), shape=(3, 2))
    path = converted(tmp_path, net)
    assert len(list(root(open_path(path)).tables(8))) > 1, "the converter made no loop; take another layer"
    found = steelyard.weights(path)
    check_weights(found)
    numbers = [np.sort(w.numpy(), axis=None) for w in found.values()]
    for variable in (net.get_layer("gru").cell.kernel, net.get_layer("gru").cell.recurrent_kernel):
        expected = np.sort(variable.numpy(), axis=None)
        assert any(np.array_equal(run, expected) for run in numbers), variable.path


@pytest.mark.shared
def test_a_fused_lstm_has_a_kernel_for_each_gate():
    found = steelyard.weights(carried.OUTSIDE / "tflm-mnist-lstm/trained_lstm.tflite")
    assert {w.axes for w in found.select(role="recurrent kernel").values()} == {f"[{gate}]*out in" for gate in "ifgo"}
    assert [w.shape for w in found.select(role="kernel").values()] == [(20, 28)] * 4 + [(10, 560)]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["tflm-hello-int8/hello_world_int8.tflite", "tflm-micro-speech/micro_speech_quantized.tflite"])
def test_the_interpreter_has_the_same_numbers(name):
    interpreter = tf.lite.Interpreter(str(carried.OUTSIDE / name))
    interpreter.allocate_tensors()
    indices = {d["name"]: d["index"] for d in interpreter.get_tensor_details()}
    for weight in steelyard.weights(carried.OUTSIDE / name, scope="all").values():
        np.testing.assert_array_equal(weight.numpy(), interpreter.get_tensor(indices[weight.name]))


@pytest.mark.shared
def test_integers_that_are_not_quantised_are_listed_with_scope_all_only():
    path = carried.OUTSIDE / "tflm-audio-preprocessor-int8/audio_preprocessor_int8.tflite"
    assert len(steelyard.weights(path)) < len(steelyard.weights(path, scope="all"))
    assert steelyard.weights(path, scope="all").meta["description"] == "MLIR Converted."


@pytest.mark.parametrize("count", [0, 3, 7, 8, 12, 40])
def test_a_file_that_was_cut_off_is_refused(count):
    data = (carried.folder("golden") / "mlp_relu/model.tflite").read_bytes()[:count]
    with pytest.raises(FormatError):
        tflite.read(from_bytes(data), "all")


@pytest.mark.parametrize(
    "path",
    [
        carried.folder("golden") / "conv2d/model.tflite",
        pytest.param(carried.OUTSIDE / "tflm-hello-int8/hello_world_int8.tflite", marks=pytest.mark.shared),
    ],
    ids=["golden", "quantised"],
)
def test_a_file_with_any_changed_byte_is_read_or_refused(path):
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(400):
        changed = bytearray(data)
        for _ in range(3):
            changed[rng.integers(8, len(data))] = rng.integers(256)
        try:
            for weight in tflite.read(from_bytes(bytes(changed)), "all").values():
                weight.numpy()
        except FormatError:
            continue

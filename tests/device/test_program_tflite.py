"""Programs of TensorFlow Lite files, against the interpreter of TensorFlow."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from steelyard.device.program import program_of
from steelyard.errors import ShapeError

RNG = np.random.default_rng(17)


def converted(model, path, **options):
    """Convert a model with numbers that are not its initial ones."""
    for variable in model.variables:
        if variable.dtype.startswith("float"):
            variable.assign(np.abs(RNG.standard_normal(variable.shape)) * 0.3 + 0.1 if "variance" in variable.path
                            else RNG.standard_normal(variable.shape) * 0.4)  # fmt: skip
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    for name, value in options.items():
        setattr(converter, name, value)
    path.write_bytes(converter.convert())
    return path


def image_net():
    """Convolutions, pools, norms, padding, upsampling, activations and merges of an image."""
    x = keras.Input((9, 8, 3))
    h = L.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    h = L.BatchNormalization()(L.DepthwiseConv2D(3, depth_multiplier=2)(L.ZeroPadding2D(1)(h)))
    h = L.ReLU(6.0)(h)
    side = L.Conv2D(8, 1, activation="tanh")(L.AveragePooling2D(2, strides=1, padding="same")(h))
    h = L.Add()([h, side])
    h = L.Concatenate()([h, L.LeakyReLU(negative_slope=0.2)(side)])
    h = L.UpSampling2D(2, interpolation="bilinear")(L.MaxPooling2D(2, padding="same")(h))
    h = L.PReLU(shared_axes=(1, 2))(L.Conv2DTranspose(4, 3, strides=2, padding="same")(h))
    h = L.UpSampling2D(2)(h)
    pooled = L.Multiply()([L.GlobalAveragePooling2D()(h), L.GlobalMaxPooling2D()(h)])
    flat = L.Dense(3, activation="elu")(L.Flatten()(L.Cropping2D(3)(h)))
    return keras.Model(x, L.Dense(4, activation="softmax")(L.Concatenate()([pooled, flat])))


def sequence_net():
    """A table, a convolution of steps, norms, and parts of a sequence."""
    x = keras.Input((6,), dtype="int32")
    h = L.LayerNormalization()(L.Embedding(11, 8)(x))
    h = L.Conv1D(8, 3, padding="causal", activation="gelu")(h)
    h = L.Conv1D(8, 1, activation="silu")(h)
    return keras.Model(x, [L.Dense(3)(h[:, -1]), L.Permute((2, 1))(L.Reshape((3, 16))(h))])


def attention_net():
    x = keras.Input((5, 8))
    h = L.Add()([x, L.MultiHeadAttention(2, 4)(x, x)])
    return keras.Model(x, L.Dense(3)(L.GlobalAveragePooling1D()(h)))


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
@pytest.mark.parametrize(("make", "x"), [
    (image_net, RNG.standard_normal((2, 9, 8, 3))), (sequence_net, RNG.integers(0, 11, (2, 6))),
    (attention_net, RNG.standard_normal((2, 5, 8))),
], ids=["image", "sequence", "attention"])  # fmt: skip
def test_the_program_of_a_file_has_the_outputs_of_the_interpreter(make, x, tmp_path):
    program = program_of(converted(make(), tmp_path / "net.tflite"), x.astype("float32" if x.dtype.kind == "f" else "int32"))
    assert program.error < 1e-6


def test_a_file_with_quantised_weights_is_refused_by_its_operator(tmp_path):
    model = keras.Sequential([keras.Input((64,)), L.Dense(64)])
    path = converted(model, tmp_path / "net.tflite", optimizations=[tf.lite.Optimize.DEFAULT])
    with pytest.raises(ShapeError, match="int8"):
        program_of(path, np.zeros((1, 64), "float32"))

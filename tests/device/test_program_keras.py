"""Programs of Keras models, live and from their files without Keras, have the outputs of Keras."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from steelyard.device.program import program_of
from steelyard.errors import ShapeError

BOUND = 2e-6
"""The outputs of Keras are in float32 too."""


def filled(model):
    """Return a model with numbers that are not those of a new one."""
    rng = np.random.default_rng(0)
    model.set_weights(
        [rng.uniform(0.2, 1, w.shape) * (rng.choice([-1, 1], w.shape) if w.ndim > 1 else 1) for w in model.get_weights()]
    )
    return model


def example(*shape):
    return np.random.default_rng(1).standard_normal((3, *shape)).astype("float32")


def check(model, x, tmp_path):
    """Compare the program of a live model, and that of its file, with the model's own answer."""
    answer = np.asarray(filled(model)(x))
    model.save(tmp_path / "net.keras")
    for source in (model, tmp_path / "net.keras"):
        program = program_of(source)
        made = program.run(x)
        assert made.shape == answer.shape
        assert float(np.abs(made - answer).max() / np.abs(answer).max()) <= BOUND
        assert (program.error is None) == (source is not model)
        assert source is not model or program.error <= BOUND


CHAINS = {
    "conv, same and strides": ([layers.Conv2D(3, (2, 3), (2, 3), "same", activation="elu")], (7, 8, 2)),
    "conv, groups and dilation": ([layers.Conv2D(4, 3, dilation_rate=2, groups=2, padding="same")], (6, 6, 4)),
    "causal conv": ([layers.Conv1D(3, 3, dilation_rate=2, padding="causal", activation="leaky_relu")], (7, 2)),
    "depthwise and separable": (
        [layers.DepthwiseConv2D(3, 2, "same", depth_multiplier=2), layers.SeparableConv2D(3, 2, depth_multiplier=2)], (6, 6, 2)
    ),
    "transposed conv, same": ([layers.Conv2DTranspose(3, 3, 2, "same", activation="relu")], (3, 4, 2)),
    "transposed conv, valid with gaps": ([layers.Conv1DTranspose(3, 2, 3)], (4, 2)),
    "pools": ([layers.MaxPooling2D(3, 2, "same"), layers.AveragePooling2D(2, 1, "same"), layers.GlobalMaxPooling2D()], (7, 6, 2)),
    "a pool that keeps its axes": ([layers.Conv1D(2, 2), layers.GlobalAveragePooling1D(keepdims=True)], (5, 3)),
    "padding and upsampling": ([layers.ZeroPadding2D(((1, 0), (2, 1))), layers.UpSampling2D((2, 3))], (2, 3, 2)),
    "norms": ([layers.Conv1D(4, 2), layers.BatchNormalization(), layers.GroupNormalization(2), layers.LayerNormalization()], (6, 3)),
    "rms norm and prelu": ([layers.RMSNormalization(), layers.PReLU(shared_axes=[1])], (3, 3)),
    "shapes": ([layers.Reshape((3, -1)), layers.Permute((2, 1)), layers.Flatten(), layers.Dense(2)], (6,)),
    "lstm and gru": (
        [layers.LSTM(3, return_sequences=True), layers.GRU(3, return_sequences=True), layers.SimpleRNN(2), layers.Dropout(0.2)],
        (4, 2),
    ),
    "gru that resets before": ([layers.GRU(3, reset_after=False, go_backwards=True)], (4, 2)),
    "activations": ([layers.Dense(9, activation=word) for word in ("silu", "gelu", "softplus", "mish", "hard_sigmoid", "softmax")], (5,)),
    "relu with a highest": ([layers.ReLU(max_value=0.7), layers.ReLU(negative_slope=0.1), layers.Softmax(axis=1)], (4, 3)),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHAINS)
def test_the_program_of_a_chain_has_the_outputs_of_keras(kind, tmp_path):
    listed, shape = CHAINS[kind]
    check(keras.Sequential([keras.Input(shape), *listed]), example(*shape), tmp_path)


def test_the_program_of_a_functional_model_has_the_outputs_of_keras(tmp_path):
    one, two = keras.Input((4,)), keras.Input((3,))
    hidden = layers.Dense(4, activation="relu")(two)
    joined = layers.Concatenate()([layers.Subtract()([one, hidden]), layers.Multiply()([hidden, hidden]), two])
    model = filled(keras.Model([one, two], [layers.Dense(2)(joined), layers.Average()([one, hidden, one])]))
    x = [example(4), example(3)]
    model.save(tmp_path / "net.keras")
    for source in (model, tmp_path / "net.keras"):
        for made, answer in zip(program_of(source).run(*x), model(x), strict=True):
            np.testing.assert_allclose(made, answer, rtol=0, atol=BOUND * float(np.abs(answer).max()))


def test_functions_of_a_model_have_their_settings(tmp_path):
    one = keras.Input((4,))
    made = keras.ops.elu(keras.ops.leaky_relu(layers.Dense(4)(one), negative_slope=0.4), alpha=0.3)
    shaped = keras.ops.softmax(layers.Reshape((2, 2))(made), axis=1)
    check(keras.Model(one, keras.ops.concatenate([shaped, layers.Reshape((2, 2))(one)], axis=1)), example(4), tmp_path)


FUNCTIONS = {
    "numbers": lambda x: (x * 0.5 + 1) / 3 - 0.25,
    "numbers before": lambda x: (1 - x) * (2 / (x * x + 1)) + 3 * x,
    "bounds": lambda x: ops.clip(x, -0.2, 0.3) + ops.maximum(x, 0.1) - ops.minimum(0.2, x),
    "powers and roots": lambda x: x**2 + ops.square(x) * ops.sqrt(ops.absolute(x)) - (ops.abs(x) + 1) ** -0.5,
    "reciprocals": lambda x: ops.reciprocal(x * x + 1) - ops.rsqrt(x * x + 1) + ops.erf(-x),
    "means and sums": lambda x: x - ops.mean(x, axis=-1, keepdims=True) + ops.sum(x, axis=(1, 2), keepdims=True),
    "a mean that loses its axis": lambda x: ops.mean(x, axis=1) + ops.max(x, axis=-2),
    "an order of the axes": lambda x: ops.transpose(x, (0, 2, 1)),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_functions_of_keras_take_numbers_and_make_one_of_several(kind, tmp_path):
    one = keras.Input((5, 4))
    check(keras.Model(one, FUNCTIONS[kind](layers.Dense(4)(one))), example(5, 4), tmp_path)


def test_a_power_of_a_number_is_refused():
    one = keras.Input((4,))
    with pytest.raises(ShapeError, match="takes a power of a number, which is not known"):
        program_of(filled(keras.Model(one, 2 ** layers.Dense(4)(one))), example(4))


def test_both_directions_are_joined_as_the_layer_says(tmp_path):
    one = keras.Input((4, 6))
    made = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(one)
    for mode in ("sum", "mul", "ave"):
        both = layers.Bidirectional(layers.SimpleRNN(6, return_sequences=True), merge_mode=mode)(made)
        made = layers.Add()([made, both])
    last = layers.Bidirectional(layers.GRU(2))(made)
    check(keras.Model(one, layers.Dense(3, activation="softmax")(last)), example(4, 6), tmp_path)


def test_a_tagger_of_both_directions_has_the_outputs_of_keras(tmp_path):
    inner = layers.Bidirectional(layers.LSTM(3, return_sequences=True))
    model = keras.Sequential([keras.Input((5,)), layers.Embedding(7, 4), inner, layers.Dense(3, activation="softmax")])
    check(model, np.arange(15).reshape(3, 5) % 7, tmp_path)


def test_directions_that_are_not_joined_are_refused(tmp_path):
    one = keras.Input((4, 2))
    pair = layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode=None, name="both")(one)
    filled(model := keras.Model(one, layers.Subtract()(pair))).save(tmp_path / "net.keras")
    for source in (model, tmp_path / "net.keras"):
        with pytest.raises(
            ShapeError, match=r"'both/forward_lstm.*/lstm_cell' \(LSTM\) gives both directions by merge_mode none"
        ):
            program_of(source)


def test_masks_are_refused_by_the_name_of_their_layer(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Embedding(5, 3, mask_zero=True, name="table"), layers.LSTM(2)])
    model.save(tmp_path / "net.keras")
    for source in (model, tmp_path / "net.keras"):
        with pytest.raises(ShapeError, match=r"table' \(Embedding\) has mask_zero=True|\(LSTM\) is called with a mask"):
            program_of(source, np.ones((2, 4), "int32"))


def _with_mask(x):
    return layers.MultiHeadAttention(2, 3, name="named")(x, x, attention_mask=np.tril(np.ones((1, 4, 4))) > 0)


def _with_steps(x):
    return layers.LSTM(6, name="named")(x, mask=np.ones((1, 4)) > 0)


def _in_training(x):
    return layers.BatchNormalization(name="named")(x, training=True)


@pytest.mark.parametrize("layer", [_with_mask, _with_steps, _in_training])
def test_a_layer_that_is_called_with_a_mask_or_in_training_is_refused_by_its_name(layer, tmp_path):
    x = keras.Input((4, 6))
    (model := keras.Model(x, layer(x))).save(tmp_path / "net.keras")
    for source in (model, tmp_path / "net.keras"):
        with pytest.raises(ShapeError, match=r"'named.* is called (with a mask|as in training), which is not known"):
            program_of(source)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_has_the_outputs_of_keras(causal, tmp_path):
    x = keras.Input((4, 6))
    made = layers.MultiHeadAttention(2, 3, value_dim=2)(x, layers.Dense(5)(x), use_causal_mask=causal)
    more = layers.MultiHeadAttention(3, 2, output_shape=5)(made, x, layers.Dense(3)(x))
    check(
        keras.Model(x, layers.Concatenate()([layers.LayerNormalization()(layers.Add()([made, x])), more])),
        example(4, 6),
        tmp_path,
    )


def test_a_small_gpt_has_the_outputs_of_keras(tmp_path):
    tokens, places = keras.Input((4,), dtype="int32", name="tokens"), keras.Input((4,), dtype="int32", name="places")
    x = layers.Embedding(9, 6)(tokens) + layers.Embedding(4, 6)(places)
    norm = layers.LayerNormalization(epsilon=1e-5)(x)
    x = x + layers.MultiHeadAttention(2, 3)(norm, norm, use_causal_mask=True)
    x = x + layers.Dense(6)(layers.Dense(12, activation="gelu")(layers.LayerNormalization()(x)))
    model = filled(keras.Model([tokens, places], layers.Dense(9, use_bias=False)(x)))
    given = [np.array([[3, 1, 4, 8]], "int32"), np.array([[0, 1, 2, 3]], "int32")]
    model.save(tmp_path / "net.keras")
    for source in (model, tmp_path / "net.keras"):
        assert np.abs(program_of(source, given).run(*given) / np.asarray(model(given)) - 1).max() <= 1e-4

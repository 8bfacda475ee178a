"""A smaller Keras net equals the one in which the weights that read the removed units are zero."""

import keras
import numpy as np
import pytest
from keras import layers

import steelyard
from steelyard.errors import ShapeError


def filled(net):
    chance = np.random.default_rng(0)
    for variable in net.weights:
        low = chance.uniform(0.5, 2, variable.shape)
        variable.assign(low if "variance" in variable.path else chance.standard_normal(variable.shape) * 0.5)
    return net


def mlp():
    parts = [keras.Input((6,)), layers.Dense(8, "tanh", name="fc1"), layers.Dense(7, "sigmoid", name="fc2")]
    return keras.Sequential([*parts, layers.Dense(3, name="fc3")], name="net")


def conv_norm():
    x = given = keras.Input((8, 8, 2))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", name="c1")(x)))
    x = layers.PReLU(shared_axes=[1, 2])(layers.BatchNormalization()(layers.Conv2D(5, 3, name="c2")(layers.MaxPooling2D()(x))))
    return keras.Model(given, layers.Dense(4, name="fc")(layers.GlobalAveragePooling2D()(x)))


def depthwise():
    x = given = keras.Input((8, 8, 3))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="dw")(layers.Conv2D(4, 1, name="c")(x))
    x = layers.BatchNormalization()(x)
    return keras.Model(given, layers.Dense(3, name="fc")(layers.GlobalAveragePooling2D()(x)))


def separable():
    x = given = keras.Input((8, 8, 3))
    x = layers.SeparableConv2D(6, 3, depth_multiplier=2, activation="relu", name="s1")(x)
    x = layers.SeparableConv2D(5, 3, depth_multiplier=2, name="s2")(x)
    return keras.Model(given, layers.Dense(3, name="fc")(layers.GlobalMaxPooling2D()(x)))


def residual():
    """A residual branch, and a gate whose units are reshaped to the channels."""
    given = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(given)
    x = layers.Add()([x, layers.Conv2D(6, 1, name="c2")(layers.Conv2D(5, 1, activation="relu", name="c1")(x))])
    gate = layers.Dense(6, "sigmoid", name="s2")(layers.Dense(3, "relu", name="s1")(layers.GlobalAveragePooling2D()(x)))
    x = layers.Multiply()([x, layers.Reshape((1, 1, 6), name="shaped")(gate)])
    return keras.Model(given, layers.Dense(4, name="fc")(layers.GlobalAveragePooling2D()(x)))


def concat():
    given = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", name="c0")(given)
    x = layers.Concatenate()([x, layers.Conv2D(3, 3, padding="same", name="c1")(layers.ReLU()(x))])
    return keras.Model(given, layers.Dense(3, name="fc")(layers.GlobalAveragePooling2D()(layers.BatchNormalization()(x))))


def flattened():
    parts = [keras.Input((6, 6, 2)), layers.Conv2D(4, 3, activation="relu", name="c"), layers.Flatten(), layers.Dropout(0.5)]
    return keras.Sequential([*parts, layers.Dense(3, name="fc")], name="net")


def lstm():
    parts = [keras.Input((5, 4)), layers.LSTM(5, return_sequences=True, name="l1"), layers.LSTM(4, name="l2")]
    return keras.Sequential([*parts, layers.Dense(3, name="fc")], name="net")


def gru():
    parts = [keras.Input((5, 4)), layers.Bidirectional(layers.GRU(5), name="both")]
    return keras.Sequential([*parts, layers.Dense(3, name="fc")], name="net")


def heads():
    given = keras.Input((5, 8))
    y = layers.LayerNormalization()(given)
    x = layers.Add()([given, layers.MultiHeadAttention(4, 2, name="mha")(y, y)])
    up = layers.Dense(10, "gelu", name="up")(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dense(8, name="down")(up)])
    return keras.Model(given, layers.Dense(3, name="fc")(layers.GlobalAveragePooling1D()(x)))


NETS = [
    (mlp, {"net/fc1": [1, 4], "net/fc2": [0, 3]}, {"net/fc2/kernel": (0, [1, 4]), "net/fc3/kernel": (0, [0, 3])}),
    (conv_norm, {"c1": [1, 4], "c2": [0, 3]}, {"c2/kernel": (2, [1, 4]), "fc/kernel": (0, [0, 3])}),
    (depthwise, {"c": [1]}, {"fc/kernel": (0, [2, 3])}),
    (separable, {"s1": [2]}, {"s2/pointwise_kernel": (2, [4, 5])}),
    (
        residual,
        {"stem": [1, 4], "c1": [0], "s1": [2]},
        {
            "c1/kernel": (2, [1, 4]),
            "c2/kernel": (2, [0]),
            "s1/kernel": (0, [1, 4]),
            "s2/kernel": (0, [2]),
            "fc/kernel": (0, [1, 4]),
        },
    ),
    (concat, {"c0": [1], "c1": [2]}, {"c1/kernel": (2, [1]), "fc/kernel": (0, [1, 6])}),
    (flattened, {"net/c": [2]}, {"net/fc/kernel": (0, [*range(2, 64, 4)])}),
    (
        lstm,
        {"net/l1/lstm_cell": [2], "net/l2/lstm_cell": [0, 3]},
        {
            "net/l1/lstm_cell/recurrent_kernel": (0, [2]),
            "net/l2/lstm_cell/kernel": (0, [2]),
            "net/l2/lstm_cell/recurrent_kernel": (0, [0, 3]),
            "net/fc/kernel": (0, [0, 3]),
        },
    ),
    (
        gru,
        {"net/both/forward_gru/gru_cell": [1], "net/both/backward_gru/gru_cell": [3]},
        {
            "net/both/forward_gru/gru_cell/recurrent_kernel": (0, [1]),
            "net/both/backward_gru/gru_cell/recurrent_kernel": (0, [3]),
            "net/fc/kernel": (0, [1, 8]),
        },
    ),
    (heads, {"mha": [1, 3], "up": [0, 5, 9]}, {"mha/attention_output/kernel": (0, [1, 3]), "down/kernel": (0, [0, 5, 9])}),
]


@pytest.fixture
def named(monkeypatch):
    keras.utils.clear_session(free_memory=False)


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(("make", "gone", "read"), NETS)
def test_a_smaller_net_is_the_one_that_does_not_read_the_units(make, gone, read):
    net = filled(make())
    x = np.random.default_rng(1).standard_normal((3, *net.input_shape[1:])).astype("float32")
    plan = steelyard.prune_units(net, gone)
    assert plan.proof.proven
    smaller = np.asarray(plan.model(x))
    weights = steelyard.weights(net)
    zeroed = {name: weights[name].numpy().copy() for name in read}
    for name, (axis, units) in read.items():
        np.moveaxis(zeroed[name], axis, 0)[units] = 0
    weights.assign(zeroed)
    np.testing.assert_allclose(smaller, np.asarray(net(x)), atol=1e-6)
    assert {name: weight.shape for name, weight in plan.weights.items()} == {
        name: weight.shape for name, weight in steelyard.weights(plan.model).items()
    }


@pytest.mark.usefixtures("named")
def test_units_of_a_file_go_by_its_graph(tmp_path):
    net = filled(residual())
    net.save(tmp_path / "net.keras")
    plan, of_file = (steelyard.prune_units(source, 0.5) for source in (net, tmp_path / "net.keras"))
    assert of_file.removed == plan.removed
    for name, weight in of_file.weights.items():
        np.testing.assert_array_equal(weight.numpy(), plan.weights[name].numpy())
    with pytest.raises(ShapeError, match="only a live net has a smaller model"):
        of_file.model  # noqa: B018


@pytest.mark.usefixtures("named")
def test_outputs_that_another_layer_takes_too_stay(tmp_path):
    given = keras.Input((6,))
    hidden = layers.Dense(5, "relu", name="hidden")(given)
    net = keras.Model(given, [hidden, layers.Dense(2, name="out")(hidden)])
    net.save(tmp_path / "net.keras")
    for source in (net, tmp_path / "net.keras"):
        assert steelyard.weights(source).graph.output_names == ("hidden", "out")
        with pytest.raises(ShapeError, match="hidden cannot lose units: they are the net's outputs"):
            steelyard.prune_units(source, {"hidden": 0.5})


@pytest.mark.usefixtures("named")
def test_a_layer_that_runs_twice_and_a_function_that_is_not_known_keep_their_units():
    given = keras.Input((6,))
    twice = layers.Dense(6, "relu", name="twice")
    net = keras.Model(given, layers.Dense(2, name="out")(twice(twice(given))))
    with pytest.raises(ShapeError, match=r"twice cannot lose units: twice \(Dense\) runs 2 times"):
        steelyard.prune_units(net, {"twice": 0.5})
    strange = keras.Sequential(
        [given, layers.Dense(4, name="d"), layers.Lambda(lambda x: x[:, :2], (2,)), layers.Dense(2)], name="n"
    )
    with pytest.raises(ShapeError, match=r"n/d cannot lose units: n/lambda \(Lambda\) takes them"):
        steelyard.prune_units(strange, {"n/d": 0.5})


@pytest.mark.usefixtures("named")
def test_fold_moves_the_constant_of_units_without_kernels_into_the_next_bias():
    net = filled(mlp())
    x = np.random.default_rng(1).standard_normal((3, 6)).astype("float32")
    folded = np.asarray(steelyard.prune_units(net, {"net/fc1": [1, 4], "net/fc2": [0, 3]}, fold=True).model(x))
    net.get_layer("fc1").kernel.assign(np.where(np.isin(np.arange(8), [1, 4]), 0, net.get_layer("fc1").kernel))
    net.get_layer("fc2").kernel.assign(np.where(np.isin(np.arange(7), [0, 3]), 0, net.get_layer("fc2").kernel))
    np.testing.assert_allclose(folded, np.asarray(net(x)), atol=1e-6)

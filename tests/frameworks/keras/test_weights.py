"""Keras 3: paths, order, roles, axes and vectors are Keras's own, on the backend that KERAS_BACKEND names."""

import os

from outputs import assert_close

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from keras import layers

import steelyard
from steelyard.core.plugins import framework_of
from steelyard.errors import NotFittedError, ReadOnlyError, ShapeError, UnknownModelError

BACKEND = keras.backend.backend()
pytestmark = pytest.mark.filterwarnings(
    # Keras's JAX backend asks for 64-bit counters, which JAX makes only if they are enabled.
    "ignore:Explicitly requested dtype int64:UserWarning",
)


def train(model, shape, outputs=2, integers=0, steps=3):
    """Train really, so that no weight, mean or variance is what it was made as."""
    random = np.random.default_rng(0)
    x = random.integers(0, integers, (8, *shape)) if integers else random.normal(size=(8, *shape)).astype("float32")
    y = random.normal(size=(8, outputs)).astype("float32")
    model.compile(optimizer="adam", loss="mse", run_eagerly=keras.backend.backend() == "tensorflow")
    for _ in range(steps):
        model.train_on_batch(x, y)
    return x


def image_net():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, (2, 3)),
            layers.BatchNormalization(),
            layers.PReLU(),
            layers.DepthwiseConv2D((2, 2), depth_multiplier=2),
            layers.SeparableConv2D(5, (2, 2)),
            layers.Dropout(0.1),
            layers.Conv2DTranspose(6, (2, 3)),
            layers.GroupNormalization(2),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


def sequence_net():
    return keras.Sequential(
        [
            keras.Input((5,)),
            layers.Embedding(11, 4),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
            layers.GRU(4, return_sequences=True),
            layers.GRU(4, reset_after=False, return_sequences=True),
            layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True),
            layers.SimpleRNN(4, return_sequences=True),
            layers.TimeDistributed(layers.Dense(4)),
            layers.Conv1D(4, 2, padding="same"),
            layers.LayerNormalization(),
            layers.RMSNormalization(),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2),
        ]
    )


def attention_net():
    inputs = keras.Input((5, 6))
    x = layers.MultiHeadAttention(2, 3)(inputs, inputs)
    x = layers.GroupQueryAttention(3, 4, 2)(x, x)
    x = layers.EinsumDense("abc,cd->abd", output_shape=(5, 7), bias_axes="d")(x)
    x = layers.EinsumDense("abc,bcde->ade", output_shape=(2, 3))(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(4)
        self.blocks = [layers.Dense(4, activation="relu"), layers.Dense(4)]
        self.inner = keras.Sequential([layers.Dense(4), layers.BatchNormalization(), layers.Dropout(0.2)])
        self.heads = {"mean": layers.Dense(2)}

    def call(self, x, training=False):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.heads["mean"](self.inner(x, training=training))


MODELS = {
    "image": (image_net, (8, 8, 3), 0),
    "sequence": (sequence_net, (5,), 11),
    "attention": (attention_net, (5, 6), 0),
    "subclassed": (Subclassed, (3,), 0),
}


@pytest.fixture(params=MODELS, scope="module")
def trained(request):
    make, shape, integers = MODELS[request.param]
    keras.utils.set_random_seed(1)
    model = make()
    return model, train(model, shape, integers=integers), make


def facts(model):
    found = steelyard.weights(model).values()
    return {w.name: (str(w.role), w.axes) for w in found}


def test_names_order_values_and_flags_are_those_of_weights(trained):
    model, _, _ = trained
    w = steelyard.weights(model)
    assert list(w) == [v.path for v in model.weights]
    assert [x.trainable for x in w.values()] == [v.trainable for v in model.weights]
    assert [x.shape for x in w.values()] == [tuple(v.shape) for v in model.weights]
    for mine, theirs in zip(w.values(), model.get_weights(), strict=True):
        assert mine.dtype == theirs.dtype.name
        np.testing.assert_array_equal(mine.numpy(), theirs)
        assert not mine.numpy().flags.writeable
    assert all(weight.layer == name.rpartition("/")[0] for name, weight in w.items())


def test_the_vector_is_get_weights_by_rows_and_r_by_columns(trained):
    model, _, _ = trained
    arrays = model.get_weights()
    w = steelyard.weights(model)
    np.testing.assert_array_equal(w.to_vector(), np.concatenate([a.ravel() for a in arrays]))
    np.testing.assert_array_equal(w.to_vector(order="F"), np.concatenate([a.ravel(order="F") for a in arrays]))
    assert w.size == model.count_params()


def test_a_model_predicts_as_the_source_of_its_weights_and_continues_to_train(trained):
    model, x, make = trained
    other = make()
    other(x[:1])
    vector = steelyard.weights(model).to_vector()
    w = steelyard.weights(other)
    assert w.assign(vector) is other
    vector[:] = np.nan  # no memory is shared
    np.testing.assert_array_equal(w.to_vector(), steelyard.weights(model).to_vector())
    assert_close(other.predict_on_batch(x), model.predict_on_batch(x))
    before = w.to_vector()
    train(other, x.shape[1:], integers=11 if x.dtype.kind == "i" else 0, steps=1)
    after = w.to_vector()
    assert np.isfinite(after).all()
    assert not np.array_equal(before, after), "the same Weights follow the model"


def test_the_optimizer_of_a_compiled_model_continues_with_the_assigned_weights():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    x = train(model, (3,))
    w = steelyard.weights(model)
    w.assign(np.full(w.size, 10.0))
    model.train_on_batch(x, np.zeros((8, 2)))
    assert (np.abs(w.to_vector() - 10) < 0.1).all()
    assert (w.to_vector() != 10).any()


def test_assigning_a_part_leaves_the_rest():
    model = image_net()
    w = steelyard.weights(model)
    before = w.copy()
    w.select(role="kernel").assign(np.zeros(w.select(role="kernel").size))
    for name, weight in w.items():
        if weight.role == "kernel":
            assert not weight.numpy().any()
        else:
            np.testing.assert_array_equal(weight.numpy(), before[name].numpy())


def test_a_copy_does_not_follow_the_model():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    best = steelyard.weights(model).copy()
    kept = best.to_vector()
    train(model, (3,))
    np.testing.assert_array_equal(best.to_vector(), kept)
    with pytest.raises(ReadOnlyError):
        best.assign(kept)


def test_roles_and_axes_of_images():
    assert list(facts(image_net()).values()) == [
        ("kernel", "kh kw in out"),
        ("bias", "out"),
        ("scale", "channel"),
        ("offset", "channel"),
        ("mean", "channel"),
        ("variance", "channel"),
        ("other", ""),
        ("kernel", "kh kw in mult"),
        ("bias", "out"),
        ("kernel", "kh kw in mult"),
        ("kernel", "kh kw in out"),
        ("bias", "out"),
        ("kernel", "kh kw out in"),
        ("bias", "out"),
        ("scale", "channel"),
        ("offset", "channel"),
        ("kernel", "in out"),
        ("bias", "out"),
    ]


def test_roles_and_axes_of_sequences():
    lstm = [("kernel", "in [ifgo]*out"), ("recurrent kernel", "in [ifgo]*out"), ("bias", "[ifgo]*out")]
    gru = [("kernel", "in [zrn]*out"), ("recurrent kernel", "in [zrn]*out"), ("bias", "[ih] [zrn]*out")]
    assert list(facts(sequence_net()).values()) == [
        ("embedding", "vocab out"),
        *lstm,
        *lstm,
        *gru,
        *gru[:2],
        ("bias", "[zrn]*out"),
        *lstm,
        *gru,
        ("kernel", "in out"),
        ("recurrent kernel", "in out"),
        ("bias", "out"),
        ("kernel", "in out"),
        ("bias", "out"),
        ("kernel", "k in out"),
        ("bias", "out"),
        ("scale", "channel"),
        ("offset", "channel"),
        ("scale", "channel"),
        ("kernel", "in out"),
        ("bias", "out"),
    ]


def test_roles_and_axes_of_attention():
    heads = [("kernel", "in heads dim"), ("bias", "heads dim")] * 3 + [("kernel", "heads dim out"), ("bias", "out")]
    found = list(facts(attention_net()).values())
    assert found == [
        *heads,
        *heads,
        ("kernel", "in out"),
        ("bias", "out"),
        ("kernel", "in1 in2 out1 out2"),
        ("kernel", "in out"),
        ("bias", "out"),
    ]


def test_the_axes_are_those_along_which_each_kernel_is_used():
    """The words are checked by computing the layer with them, not by their spelling."""
    x = np.random.default_rng(0).normal(size=(2, 5, 6)).astype("float32")
    layer = layers.MultiHeadAttention(2, 3)
    expected = keras.ops.convert_to_numpy(layer(x, x))
    w = {name.partition("/")[2]: weight.numpy() for name, weight in steelyard.weights(layer).items()}
    q, k, v = (np.einsum("btc,chd->bthd", x, w[f"{n}/kernel"]) + w[f"{n}/bias"] for n in ("query", "key", "value"))
    scores = np.exp(np.einsum("bthd,bshd->bhts", q, k) / np.sqrt(3))
    mixed = np.einsum("bhts,bshd->bthd", scores / scores.sum(-1, keepdims=True), v)
    result = np.einsum("bthd,hdo->bto", mixed, w["attention_output/kernel"]) + w["attention_output/bias"]
    np.testing.assert_allclose(result, expected, atol=1e-5)


def gates(weight, name):
    """Take the part of a packed axis that the letter `name` names."""
    packed = weight.axes.split()[-1]
    letters = packed[1 : packed.index("]")]
    return np.split(weight.numpy(), len(letters), axis=-1)[letters.index(name)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_the_letters_of_an_lstm_are_its_gates():
    x = np.random.default_rng(0).normal(size=(2, 1, 5)).astype("float32")
    layer = layers.LSTM(3, bias_initializer="random_normal", unit_forget_bias=False)
    expected = keras.ops.convert_to_numpy(layer(x))
    kernel, _, bias = steelyard.weights(layer).values()
    i, g, o = (x[:, 0] @ gates(kernel, n) + gates(bias, n) for n in "igo")
    np.testing.assert_allclose(sigmoid(o) * np.tanh(sigmoid(i) * np.tanh(g)), expected, atol=1e-5)


def test_the_letters_of_a_gru_are_its_gates_and_its_bias_is_the_inputs_then_the_states():
    x = np.random.default_rng(0).normal(size=(2, 1, 5)).astype("float32")
    layer = layers.GRU(3, bias_initializer="random_normal")
    expected = keras.ops.convert_to_numpy(layer(x))
    kernel, _, bias = steelyard.weights(layer).values()
    (zi, zh), (ri, rh), (ni, nh) = (gates(bias, n) for n in "zrn")
    z, r = (sigmoid(x[:, 0] @ gates(kernel, n) + a + b) for n, a, b in (("z", zi, zh), ("r", ri, rh)))
    n = np.tanh(x[:, 0] @ gates(kernel, "n") + ni + r * nh)
    np.testing.assert_allclose((1 - z) * n, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (lambda: layers.Conv3D(2, (2, 3, 1)), (None, 4, 4, 4, 3), "kd kh kw in out"),
        (lambda: layers.Conv1DTranspose(2, 3), (None, 4, 3), "k out in"),
        (lambda: layers.Conv3DTranspose(2, 3), (None, 4, 4, 4, 3), "kd kh kw out in"),
        (lambda: layers.DepthwiseConv1D(2), (None, 4, 3), "k in mult"),
        (lambda: layers.SeparableConv1D(2, 2), (None, 4, 3), "k in mult"),
        (lambda: layers.ConvLSTM1D(2, 2), (None, 3, 4, 3), "k in [ifgo]*out"),
        (lambda: layers.ConvLSTM2D(2, 2), (None, 3, 4, 4, 3), "kh kw in [ifgo]*out"),
        (lambda: layers.Dense(4, lora_rank=2), (None, 3), "in out"),
        (lambda: layers.SpectralNormalization(layers.Dense(4)), (None, 3), "in out"),
        (layers.PReLU, (None, 3), "channel"),
        (lambda: layers.ReversibleEmbedding(5, 3), (None, 4), "vocab out"),
        (lambda: layers.EinsumDense("abc,bcd->abd", (3, 4)), (None, 3, 2), ""),
    ],
)
def test_axes_of_a_single_layer(layer, shape, expected):
    built = layer()
    built.build(shape)
    assert next(w for name, w in steelyard.weights(built).items() if "vector_u" not in name).axes == expected


def test_a_user_s_layer_is_judged_by_its_base_class_and_its_names():
    class Dense(layers.Layer):  # the name is Keras's, the layout is not
        def build(self, shape):
            self.kernel = self.add_weight(shape=(4, shape[-1]), name="kernel")
            self.gamma = self.add_weight(shape=(4,), name="gamma")

    class Scaled(layers.Dense):
        pass

    own, derived = Dense(), Scaled(2)
    own.build((None, 3))
    derived.build((None, 3))
    assert list(facts(own).values()) == [("kernel", ""), ("scale", "")]
    assert list(facts(derived).values()) == [("kernel", "in out"), ("bias", "out")]


def test_shared_layers_are_listed_once():
    shared, inputs = layers.Dense(3, name="shared"), keras.Input((3,))
    model = keras.Model(inputs, shared(shared(inputs)))
    assert list(steelyard.weights(model)) == ["shared/kernel", "shared/bias"]


def test_layers_of_one_path_are_distinguished_and_both_listed():
    """A base model and a new head may both hold a "dense"; Keras gives both the path dense/kernel."""
    inputs = keras.Input((3,))
    base = keras.Model(inputs, layers.Dense(3, name="dense")(inputs))
    again = keras.Input((3,))
    model = keras.Model(again, layers.Dense(3, name="dense")(base(again)))
    assert [v.path for v in model.weights] == ["dense/kernel", "dense/bias"] * 2
    w = steelyard.weights(model)
    assert list(w) == ["dense/kernel", "dense/bias", "dense#2/kernel", "dense#2/bias"]
    assert list(w.layers) == ["dense", "dense#2"]
    w.assign({"dense#2/kernel": np.full((3, 3), 7.0)})
    assert [float(a.flat[0]) == 7 for a in model.get_weights()] == [False, False, True, False]


def test_random_seeds_and_metrics_are_not_weights():
    model = image_net()
    train(model, (8, 8, 3))
    assert any("seed" in v.path for v in model.variables)
    assert not any("seed" in name for name in steelyard.weights(model))


def test_counters_of_a_layer_keep_their_type():
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(size=(9, 4)))
    w = steelyard.weights(layer)
    assert [str(x.role) for x in w.values()] == ["mean", "variance", "count"]
    count = next(iter(w.select(role="count").values()))
    assert count.dtype in ("int32", "int64")
    assert [x.dtype for x in w.values()] == [a.dtype.name for a in layer.get_weights()]
    w.assign({count.name: 12})
    assert int(count.numpy()) == 12


@pytest.mark.parametrize("policy", ["bfloat16", "float16", "mixed_bfloat16", "float64"])
def test_the_variables_have_the_types_of_their_policy(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        if policy == "float64" and BACKEND == "jax":
            pytest.skip("JAX holds float64 only if it is enabled for the whole process")
        model = keras.Sequential([keras.Input((3,)), layers.Dense(2), layers.BatchNormalization()])
        x = train(model, (3,))
        other = keras.Sequential([keras.Input((3,)), layers.Dense(2), layers.BatchNormalization()])
    finally:
        keras.config.set_dtype_policy(before)
    w = steelyard.weights(model)
    assert [x.dtype for x in w.values()] == [v.dtype for v in model.weights]
    vector = w.to_vector()
    expected = np.concatenate([np.asarray(keras.ops.convert_to_numpy(v)).ravel() for v in model.weights])
    assert vector.dtype.name == expected.dtype.name
    assert vector.tobytes() == expected.tobytes()
    steelyard.weights(other).assign(vector)
    same, theirs = (keras.ops.convert_to_numpy(m(x, training=False)) for m in (other, model))
    assert same.tobytes() == theirs.tobytes()


def test_kernels_of_int8_are_listed_as_stored():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4)])
    model.layers[0].quantize("int8")
    found = {name.rpartition("/")[2]: w for name, w in steelyard.weights(model).items()}
    assert found["kernel"].dtype == "int8"
    assert (found["kernel"].role, found["kernel"].axes) == ("kernel", "in out")
    assert found["kernel_scale"].role == "other"
    assert found["kernel"].trainable is False


def test_kernels_that_pack_several_numbers_in_one_have_no_axes():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4)])
    model.layers[0].quantize("int4")
    kernel = next(w for name, w in steelyard.weights(model).items() if name.endswith("/kernel"))
    assert kernel.axes == ""


def test_a_model_that_is_not_built_is_refused_by_name():
    class Half(keras.Model):
        def __init__(self):
            super().__init__()
            self.scale = self.add_weight(shape=(1,), name="scale")
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x) * self.scale

    for model in (keras.Sequential([layers.Dense(3)]), layers.Dense(3), Half()):
        with pytest.raises(NotFittedError, match=r"not built.*model\.build"):
            steelyard.weights(model)
    half = Half()
    half(np.ones((1, 3), "float32"))
    assert len(steelyard.weights(half)) == 3


def test_an_empty_model_has_no_weights():
    assert len(steelyard.weights(keras.Sequential([keras.Input((3, 2)), layers.Flatten()]))) == 0


def test_a_bare_variable_has_no_name_until_something_holds_it():
    variable = keras.Variable(np.ones((2, 3), "float32"), name="scale")
    w = steelyard.weights(variable)
    assert list(w) == [""]
    assert w.assign(np.arange(6.0)) is variable
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), [[0, 1, 2], [3, 4, 5]])
    held = steelyard.weights({"a": [variable]})
    assert list(held) == ["a.scale"]
    held.assign({"a.scale": variable})


def test_an_optimizer_lists_its_state():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    train(model, (3,))
    w = steelyard.weights(model.optimizer)
    assert list(w) == [v.path for v in model.optimizer.variables]
    steps = next(w for w in w.values() if w.name.endswith("iteration"))
    assert steps.role == "count"
    assert int(steps.numpy()) == 3


def test_a_keras_model_is_read_by_keras_on_any_backend():
    assert framework_of(image_net()).__name__ == "steelyard.frameworks.keras"
    assert framework_of(Subclassed()).__name__ == "steelyard.frameworks.keras"


def test_arrays_that_do_not_fit_write_nothing():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    before = model.get_weights()
    w = steelyard.weights(model)
    kernel, bias = w
    with pytest.raises(ShapeError, match=r"\(3, 2\).*\(2, 3\)"):
        w.assign({bias: np.ones(2), kernel: np.ones((2, 3))})
    with pytest.raises(ShapeError, match="8"):
        w.assign(np.ones(9))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_symbolic_tensors_and_losses_are_refused():
    for thing in (keras.Input((3,)), keras.losses.MeanSquaredError()):
        with pytest.raises(UnknownModelError, match="keras"):
            steelyard.weights(thing)


@pytest.mark.skipif(BACKEND != "torch", reason="only torch lends its memory")
def test_numbers_on_the_torch_backend_are_views_of_the_model():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    kernel = next(iter(steelyard.weights(model).values())).numpy()
    model.weights[0].assign(np.full((3, 2), 4.0))
    assert (kernel == 4).all()


def test_a_layer_held_twice_is_tied_and_counts_once():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)])
    held = steelyard.weights({"whole": model, "first": model.layers[0]})
    assert held.size == model.count_params()
    assert [weight.tied for weight in held.values()][-2:] == list(held)[:2]
    with pytest.raises(ShapeError, match="share one memory"):
        held.assign({next(iter(held)): np.zeros((4, 3)), list(held)[-2]: np.ones((4, 3))})


def test_the_list_of_get_weights_is_assigned_by_place():
    model, other = (keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.BatchNormalization()]) for _ in "ab")
    train(model, (4,), outputs=3)
    steelyard.weights(other).assign(model.get_weights())
    for ours, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ShapeError, match="the list has 5 arrays, but there are 6 weights"):
        steelyard.weights(other).assign(model.get_weights()[:-1])


def test_averages_of_the_optimizer_start_again_from_what_was_assigned():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0, use_ema=True, ema_momentum=0.9), "mse")
    x, y = np.ones((2, 3)), np.zeros((2, 1))
    model.fit(x, y, verbose=0)
    wanted = np.full(4, 7, "float32")
    steelyard.weights(model).assign(wanted)
    model.fit(x, y, verbose=0)  # at its end the averages go into the model
    np.testing.assert_allclose(steelyard.weights(model).to_vector(), wanted, rtol=1e-6)


def test_weights_that_quantising_replaced_are_refused():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="d")])
    listed = steelyard.weights(model)
    model.layers[0].quantize("int8")
    before = [np.array(array) for array in model.get_weights()]
    kernel = next(name for name in listed if name.endswith("kernel"))
    again = "list the (model's )?weights again"
    for change in (lambda: listed.assign({kernel: np.ones((4, 3), "float32")}), lambda: listed.assign(np.ones(15, "float32"))):
        with pytest.raises(ShapeError, match=rf"kernel.* now.*{again}"):
            change()
    for read in (listed[kernel].numpy, listed.to_vector, listed.copy):
        with pytest.raises(ShapeError, match=rf"the model holds another .*kernel now than was listed, or none; {again}"):
            read()
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_of_replaced_layers_and_variables_are_refused():
    def rebuild(model):
        model.layers[0]._tracker.unlock()  # as Keras's own `quantize` does
        model.layers[0].build((None, 4))

    def other_layer(model):
        model.pop()
        model.add(layers.Dense(3, name="d"))

    def other_value(model):  # a constraint that is bound, not copied
        bias = model.layers[0].bias
        bias._value = type(bias)(np.ones(3, "float32"), name="other")._value

    for change in (rebuild, other_layer, other_value)[: 3 if BACKEND in ("torch", "tensorflow") else 2]:
        model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="d")])
        listed = steelyard.weights(model)
        abandoned = [listed[name].numpy().copy() for name in listed]
        variables = list(model.weights)
        change(model)
        with pytest.raises(ShapeError, match="list the model's weights again"):
            listed.to_vector()
        with pytest.raises(ShapeError, match="list the model's weights again"):
            listed.assign(np.full(15, 3, "float32"))
        if change is not other_value:
            for variable, old in zip(variables, abandoned, strict=True):
                np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), old)
        assert steelyard.weights(model).to_vector().size >= 15


def test_weights_stay_listed_while_their_layers_change_in_place(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="d"), layers.Dense(2, name="e")])
    listed = steelyard.weights(model)
    model.layers[0].enable_lora(2)
    model.layers[1].trainable = False
    model.layers[0].set_weights([np.full(w.shape, 2.0) for w in model.layers[0].weights])
    model.save_weights(tmp_path / "m.weights.h5")
    model.load_weights(tmp_path / "m.weights.h5")
    held = [model.layers[0]._kernel, model.layers[0].bias, *model.layers[1].weights]
    expected = np.concatenate([keras.ops.convert_to_numpy(variable).ravel() for variable in held])
    np.testing.assert_array_equal(listed.to_vector(), expected)
    listed.assign(np.arange(23, dtype="float32"))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model.layers[1].bias), [21, 22])


def test_a_variable_gets_the_assigned_numbers_though_its_class_overrides_assign():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1, name="d")])
    variable = model.layers[0].kernel
    own = type(variable)
    variable.__class__ = type("Halving", (own,), {"assign": lambda self, value: own.assign(self, value / 2)})
    wanted = np.full((2, 1), 4, "float32")
    steelyard.weights(model).assign({variable.path: wanted})
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable.value), wanted)

"""The graphs of Keras models and files, and their runs: Keras's own order, shapes and outputs, and an unchanged model."""

import random

import keras
import numpy as np
import pytest
from keras import layers as L
from outputs import assert_close

import steelyard
from steelyard.core.graph import KINDS as WORDS
from steelyard.errors import NotFittedError, UnknownModelError
from steelyard.frameworks import keras as graphs
from steelyard.frameworks.keras.doubling import _name_counts

NO_LAYER_OF_ITS_OWN = {("weightnorm_dense", "g")}  # Keras has no weight norm: it is folded


def names(graph):
    return [layer.name for layer in graph.layers]


def by_name(graph):
    return {layer.name: layer for layer in graph.layers}


def weighed(graph, model):
    """The layers that have weights, in order."""
    layers = {w.layer for w in steelyard.weights(model).values()}
    return [layer for layer in graph.layers if any(known == layer.name or known.startswith(f"{layer.name}/") for known in layers)]


def image(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def residual():
    x = keras.Input((8, 8, 3))
    y = z = L.Conv2D(4, 3, padding="same", name="stem")(x)
    for n in (1, 2):
        z = L.BatchNormalization(name=f"bn{n}")(L.Conv2D(4, 3, padding="same", use_bias=False, name=f"main{n}")(z))
        z = L.ReLU(name=f"relu{n}")(z)
    y = L.BatchNormalization(name="bn")(L.Conv2D(4, 1, name="side")(y))
    z = keras.ops.relu(L.Add(name="sum")([z, y]))
    return keras.Model(x, L.Dense(3, activation="softmax", name="head")(L.GlobalAveragePooling2D(name="all")(z)))


def tagger():
    return keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            L.Embedding(11, 6, mask_zero=True, name="words"),
            L.Bidirectional(L.LSTM(4, return_sequences=True), name="bi"),
            L.Bidirectional(L.GRU(4, return_sequences=True, reset_after=False), name="bi2"),
            L.TimeDistributed(L.Dense(5, activation="tanh", name="inner"), name="time"),
            L.RNN([L.LSTMCell(3, name="low"), L.GRUCell(2, name="high")], name="stack"),
        ],
        name="tagger",
    )


def encoder():
    x = keras.Input((5, 8))
    y = L.LayerNormalization(epsilon=1e-5, name="n1")(x + L.MultiHeadAttention(2, 4, name="att")(x, x))
    y = y + L.GroupQueryAttention(4, 4, 2, name="group")(y, y)
    y = L.EinsumDense("abc,cd->abd", output_shape=(None, 12), activation="gelu", name="f1")(y)
    return keras.Model(x, L.Dense(2, name="f2")(L.Dropout(0.3, name="drop")(y)))


def mobile():
    head = keras.Sequential(
        [keras.Input((32,)), L.Dense(6, name="a"), L.LeakyReLU(0.1, name="leak"), L.Dense(2, name="b")], name="head"
    )
    x = keras.Input((6, 6, 3))
    y = L.SeparableConv2D(5, 3, padding="same", activation="relu", name="separable")(x)
    y = L.DepthwiseConv2D(3, strides=2, padding="same", name="depthwise")(y)
    y = L.PReLU(shared_axes=[1, 2], name="slope")(L.Conv2D(4, 1, name="point")(y))
    y = L.Conv2DTranspose(2, 2, strides=2, name="up")(y)
    y = L.MaxPooling2D(name="pool")(L.GroupNormalization(-1, name="instance")(y))
    y = L.SpectralNormalization(L.Conv2D(8, 2, name="inside"), name="spectral")(y)
    return keras.Model(x, head(L.Flatten(name="flat")(y)))


BUILDERS = [residual, tagger, encoder, mobile]


class Backwards(keras.Model):
    """A subclassed model that creates its layers in the reverse order of their calls, one of them never called."""

    def __init__(self, *, fails=False):
        super().__init__(name="backwards")
        self.head = L.Dense(2, name="head")
        self.spare = L.Dense(2, name="spare")
        self.spare.build((None, 2))
        self.body = keras.Sequential([L.Dense(4, name="b1"), L.ReLU(name="r"), L.Dense(4, name="b2")], name="body")
        self.first = L.Dense(3, name="first")
        self.calls = self.add_weight(name="calls", trainable=False)
        self.seed = keras.random.SeedGenerator(1)
        self.fails = fails

    def call(self, x, training=False):
        self.calls.assign_add(1.0)
        x = self.first(x) + 0 * keras.random.normal((1, 3), seed=self.seed)
        x = self.body(x)
        if self.fails:
            raise ArithmeticError("on purpose")
        return {"out": self.head(x), "more": [x]}


def built():
    model = Backwards()
    model(image(2, 5))
    return model


def trained(model, x):
    """The model after two steps of Adam towards zero."""
    model.compile(keras.optimizers.Adam(0.01), "mse")
    target = keras.ops.convert_to_numpy(model(x)) * 0
    model.fit(x, target, epochs=2, verbose=0)
    return model


def state_of(model):
    return {
        "numbers": [v.numpy().copy() for v in (*model.variables, *getattr(getattr(model, "optimizer", None), "variables", ()))],
        "places": [id(v) for v in model.variables],
        "paths": [v.path for v in model.variables],
        "trainable": [v.trainable for v in model.variables],
        "call": [keras.Operation.__call__, *(type(layer).call for layer in model._flatten_layers())],
        "attributes": [sorted(vars(layer)) for layer in model._flatten_layers()],
        "random": random.getstate(),
        "floatx": keras.config.floatx(),
        "next name": dict(_name_counts()),
    }


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        if key == "numbers":
            assert all(np.array_equal(x, y) for x, y in zip(a[key], b[key], strict=True))
        else:
            assert a[key] == b[key], key
    return True


@pytest.fixture(scope="module")
def cases(golden):
    found = []
    for case in golden("keras"):
        keras.utils.clear_session(free_memory=False)  # layers without a name are counted through the whole process
        model = case.build()
        model.load_weights(case.file(".weights.h5"))
        found.append((case, model))
    assert len(found) > 60
    return found


def test_every_golden_layer_is_found_by_its_name_and_kind_and_shapes(cases):
    for case, model in cases:
        found = graphs.graph(model, None)
        assert found.is_execution_order
        assert found.input_shapes is not None
        assert {layer.kind for layer in found.layers} <= WORDS
        assert all(layer.input_shape is not None and layer.output_shape is not None for layer in found.layers), case.id
        for name, kinds in case.expected():
            if (case.id, name) not in NO_LAYER_OF_ITS_OWN:
                parts = [layer for layer in found.layers if layer.name == name or layer.name.startswith(f"{name}/")]
                assert parts, case.id
                assert {layer.kind for layer in parts} <= kinds, case.id


def test_every_weight_of_the_golden_cases_belongs_to_a_layer_of_the_graph(cases):
    for case, model in cases:
        layers = names(graphs.graph(model, None))
        for weight in steelyard.weights(model).values():
            assert any(weight.layer == name or weight.layer.startswith(f"{name}/") for name in layers), (case.id, weight.name)


def test_golden_models_run_in_float64_and_have_the_expected_output(cases):
    for case, model in cases:
        found = graphs.run(model, case.inputs)
        assert found.outputs[0].dtype == np.float64, case.id
        assert np.abs(found.outputs[0] - case.output).max() <= case.tolerance * np.abs(case.output).max(), case.id
        assert set(found.layers) == set(names(graphs.graph(model, None))), case.id


def test_a_graph_is_listed_branch_after_branch():
    found = graphs.graph(residual(), None)
    order = ["stem", "main1", "bn1", "relu1", "main2", "bn2", "relu2", "side", "bn", "sum", "relu", "all", "head"]
    assert [name.partition("_")[0] for name in names(found)] == order
    assert (found.is_execution_order, found.channels, found.input_shapes) == (True, "last", ((8, 8, 3),))
    assert by_name(found)["all"].input_shape == (8, 8, 4)
    assert by_name(found)["head"].settings == {"activation": "softmax"}


def test_cells_of_recurrent_layers_are_layers_with_their_directions():
    model = tagger()
    found = by_name(graphs.graph(model, None))
    assert list(found) == [
        "tagger/words",
        "tagger/bi/forward_lstm/lstm_cell",
        "tagger/bi/backward_lstm/lstm_cell",
        "tagger/bi2/forward_gru/gru_cell",
        "tagger/bi2/backward_gru/gru_cell",
        "tagger/time/inner",
        "tagger/stack/stacked_rnn_cells/low",
        "tagger/stack/stacked_rnn_cells/high",
    ]
    assert set(found) == {w.layer for w in steelyard.weights(model).values()}
    assert [found[name].settings.get("direction") for name in list(found)[1:5]] == ["forward", "backward"] * 2
    assert found["tagger/bi2/forward_gru/gru_cell"].settings["reset_after"] is False
    assert (found["tagger/bi/forward_lstm/lstm_cell"].input_shape, found["tagger/bi/forward_lstm/lstm_cell"].output_shape) == (
        (7, 6),
        (7, 4),
    )
    assert (found["tagger/time/inner"].input_shape, found["tagger/time/inner"].output_shape) == ((7, 8), (7, 5))
    assert [found[f"tagger/stack/stacked_rnn_cells/{name}"].kind for name in ("low", "high")] == ["lstm", "gru"]
    steps = {name: layer.settings["returns"] for name, layer in found.items() if layer.kind in ("lstm", "gru")}
    assert list(steps.values()) == ["all"] * 5 + ["last"], "each cell but the last of a stack passes all steps on"
    shaped = {name: len(found[name].output_shape) for name in steps if found[name].output_shape}
    assert all((count == 2) == (steps[name] == "all") for name, count in shaped.items())


def test_settings_have_the_words_used_for_all_frameworks():
    found = by_name(graphs.graph(mobile(), None))
    said = {name: (layer.kind, layer.settings) for name, layer in found.items()}
    plain = {"strides": (1, 1), "padding": "valid", "dilation": (1, 1)}
    assert said == {
        "separable": ("conv", {**plain, "padding": "same", "activation": "relu", "separable": True, "groups": 3}),
        "depthwise": ("conv", {**plain, "strides": (2, 2), "padding": "same", "depthwise": True, "groups": 5}),
        "point": ("conv", {**plain, "groups": 1}),
        "slope": ("prelu", {}),
        "up": ("conv transpose", {**plain, "strides": (2, 2)}),
        "instance": ("instance norm", {"epsilon": 1e-3}),
        "pool": ("pool", {"pool": "max", "size": (2, 2), "strides": (2, 2), "padding": "valid"}),
        "spectral": ("conv", {**plain, "groups": 1, "spectral_norm": True}),
        "flat": ("flatten", {"data_format": "channels_last"}),
        "head/a": ("dense", {}),
        "head/leak": ("activation", {"activation": "leaky_relu", "negative_slope": 0.1}),
        "head/b": ("dense", {}),
    }
    assert (found["flat"].input_shape, found["flat"].output_shape, found["head/a"].input_shape) == ((2, 2, 8), (32,), (32,))
    heads = by_name(graphs.graph(encoder(), None))
    assert heads["att"].settings == {"heads": 2, "key_heads": 2, "causal": False}
    assert heads["group"].settings == {"heads": 4, "key_heads": 2, "causal": False}
    assert (heads["f1"].kind, heads["f1"].settings) == ("dense", {"equation": "abc,cd->abd", "activation": "gelu"})
    assert heads["n1"].settings == {"epsilon": 1e-5}


def test_channels_first_is_a_setting():
    model = keras.Sequential(
        [keras.Input((3, 8, 8)), L.Conv2D(4, 3, data_format="channels_first"), L.Flatten(data_format="channels_first")]
    )
    found = graphs.graph(model, None)
    assert found.channels == "first"
    assert found.layers[1].settings == {"data_format": "channels_first"}


def test_a_subclassed_model_is_listed_as_defined_and_after_a_run_in_order():
    model = built()
    found = graphs.graph(model, None)
    assert not found.is_execution_order
    assert names(found) == [
        "backwards",
        "backwards/head",
        "spare",
        "backwards/body/b1",
        "backwards/body/r",
        "backwards/body/b2",
        "backwards/first",
    ]
    ran = graphs.graph(model, [image(2, 5)])
    assert ran.is_execution_order
    assert names(ran) == [
        "backwards",
        "backwards/first",
        "backwards/body/b1",
        "backwards/body/r",
        "backwards/body/b2",
        "backwards/head",
        "spare",
    ]
    assert [layer.name for layer in ran.layers if layer.settings.get("unused")] == ["spare"]
    assert (by_name(ran)["backwards/first"].input_shape, by_name(ran)["backwards/first"].output_shape) == ((5,), (3,))
    assert ran.input_shapes == ((5,),)


def test_a_run_of_a_subclassed_model_returns_the_outputs_of_all_its_layers():
    model, x = built(), image(2, 5)
    found = graphs.run(model, [x])
    assert_close(found.layers["backwards/first"], keras.ops.convert_to_numpy(model.first(x)))
    assert [output.shape for output in found.outputs] == [(2, 4), (2, 2)]  # Keras flattens a dict by its sorted keys
    assert np.allclose(found.outputs[1], keras.ops.convert_to_numpy(model(x)["out"]))


@pytest.mark.parametrize("look", [graphs.graph, graphs.run])
@pytest.mark.parametrize("build", [residual, mobile])
def test_a_run_leaves_a_trained_model_unchanged(build, look):
    model = build()
    x = image(8, *model.input_shape[1:])
    trained(model, x)
    model.layers[1].trainable = False
    before = state_of(model)
    look(model, [x])
    assert same(before, state_of(model))


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("look", [graphs.graph, graphs.run])
def test_a_run_restores_a_model_that_changes_itself_even_if_it_raises(look, fails):
    model = built()
    model.fails = fails
    before = state_of(model)
    if fails:
        with pytest.raises(ArithmeticError):
            look(model, [image(2, 5)])
    else:
        look(model, [image(2, 5)])
    assert same(before, state_of(model))


def test_a_copy_in_float64_is_used_only_if_it_agrees_with_the_model():
    class Scaled(L.Layer):
        """Keeps a number that is not in its config."""

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.factor = 1.0

        def call(self, x):
            return x * self.factor

    model = keras.Sequential([keras.Input((3,)), L.Dense(2), Scaled()])
    assert graphs.run(model, [image(2, 3)]).outputs[0].dtype == np.float64
    model.layers[-1].factor = 7.0
    found = graphs.run(model, [image(2, 3)])
    assert found.outputs[0].dtype == np.float32
    assert_close(found.outputs[0], keras.ops.convert_to_numpy(model(image(2, 3))))


def test_a_model_of_short_floats_runs_in_float64():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = keras.Sequential([keras.Input((3,)), L.Dense(2)])
    finally:
        keras.config.set_dtype_policy("float32")
    kernel, bias = (v.numpy().astype("float64") for v in model.weights)
    x = image(2, 3)
    # the copy differs from the model by what bfloat16 loses, so it must not be held against it
    assert np.allclose(graphs.run(model, [x]).outputs[0], x.astype("float64") @ kernel + bias, rtol=0.02, atol=0.02)


def test_several_inputs_are_given_in_order_to_any_structure_of_inputs():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    joined = L.Dense(2, name="fc")(L.Concatenate(name="join")([a, b]))
    x = [image(4, 3), image(4, 2)]
    outputs = [graphs.run(keras.Model(inputs, joined), x).outputs[0] for inputs in ([a, b], {"a": a, "b": b})]
    assert_close(*outputs)
    assert graphs.graph(keras.Model([a, b], joined), x).input_shapes == ((3,), (2,))
    attention = L.MultiHeadAttention(2, 3)
    attention.build((None, 5, 6), (None, 7, 4))
    assert graphs.run(attention, [image(1, 5, 6), image(1, 7, 4)]).outputs[0].shape == (1, 5, 6)


def test_a_layer_that_runs_twice_is_listed_at_its_first_call():
    x = keras.Input((3,))
    shared, between = L.Dense(3, name="shared"), L.Dense(3, name="between")
    found = graphs.graph(keras.Model(x, shared(between(shared(x)))), None)
    assert names(found) == ["shared", "between"]


def test_objects_without_layers_and_unbuilt_models_are_refused():
    with pytest.raises(UnknownModelError, match="pass a model or a layer"):
        graphs.graph(keras.Variable([1.0]), None)
    with pytest.raises(NotFittedError, match="is not built"):
        graphs.graph(keras.Sequential([L.Dense(3)]), None)

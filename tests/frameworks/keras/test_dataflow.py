"""The layers that feed each layer, in Keras models and in their files: as their graphs show, or unknown."""

import keras
import numpy as np
import pytest
from keras import layers as L

import steelyard
from steelyard.codecs.keras.graph import graph_of
from steelyard.frameworks import keras as graphs
from steelyard.storage.source import from_bytes


@pytest.fixture(autouse=True)
def names_from_the_start():
    """Reset Keras's counters of automatic names before and after each test."""
    keras.utils.clear_session()
    yield
    keras.utils.clear_session()


def told(graph):
    return {layer.name: layer.inputs for layer in graph.layers}


def residual():
    x = keras.Input((8, 8, 3), name="x")
    y = L.Conv2D(4, 3, padding="same", name="stem")(x)
    for n in (1, 2):
        z = L.ReLU(name=f"relu{n}")(L.BatchNormalization(name=f"bn{n}")(L.Conv2D(4, 3, padding="same", name=f"conv{n}")(y)))
        y = L.Add(name=f"sum{n}")([z, y])
    return keras.Model(x, L.Dense(2, name="head")(L.GlobalAveragePooling2D(name="pool")(y)))


RESIDUAL = {
    "stem": ("x",),
    "conv1": ("stem",),
    "bn1": ("conv1",),
    "relu1": ("bn1",),
    "sum1": ("relu1", "stem"),
    "conv2": ("sum1",),
    "bn2": ("conv2",),
    "relu2": ("bn2",),
    "sum2": ("relu2", "sum1"),
    "pool": ("sum2",),
    "head": ("pool",),
}


def towers():
    words, x = keras.Input((3,), dtype="int32", name="ids"), keras.Input((4,), name="x")
    left = L.Dense(4, name="a")(L.GlobalAveragePooling1D(name="mean")(L.Embedding(5, 4, name="words")(words)))
    right = L.Dense(4, name="b")(x)
    return keras.Model([words, x], [L.Dense(2, name="head")(L.Concatenate(name="both")([left, right])), right])


TOWERS = {"words": ("ids",), "mean": ("words",), "a": ("mean",), "b": ("x",), "both": ("a", "b"), "head": ("both",)}


def encoder():
    x = keras.Input((5, 8), name="x")
    memory = L.Dense(8, name="memory")(x)
    y = L.LayerNormalization(name="n1")(L.MultiHeadAttention(2, 4, name="att")(x, memory) + x)
    y = L.Add(name="sum")([y, L.Dense(8, name="f2")(L.Dropout(0.1, name="drop")(L.Dense(16, name="f1")(y)))])
    return keras.Model(x, L.LayerNormalization(name="n2")(y))


ENCODER = {
    "memory": ("x",),
    "att": ("x", "memory"),
    "add": ("att", "x"),
    "n1": ("add",),
    "f1": ("n1",),
    "drop": ("f1",),
    "f2": ("drop",),
    "sum": ("n1", "f2"),
    "n2": ("sum",),
}


def translator():
    source, target = (keras.Input((4,), dtype="int32", name=name) for name in ("source", "target"))
    words = L.Embedding(9, 4, name="words")
    _, state = L.GRU(4, return_state=True, name="encoder")(words(source))
    y = L.GRU(4, return_sequences=True, name="decoder")(words(target), initial_state=state)
    return keras.Model([source, target], L.Dense(9, name="head")(y))


TRANSLATOR = {
    "words": ("target", "source"),  # the decoder, which needs it first, comes last
    "encoder/gru_cell": ("words",),
    "decoder/gru_cell": ("words", "encoder/gru_cell"),
    "head": ("decoder/gru_cell",),
}


def tagger():
    return keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            L.Embedding(11, 6, name="words"),
            L.Bidirectional(L.LSTM(4, return_sequences=True, name="l"), name="bi"),
            L.Bidirectional(L.GRU(4, return_sequences=True, name="g"), name="bi2"),
            L.TimeDistributed(L.Dense(5, name="inner"), name="time"),
            L.RNN([L.LSTMCell(3, name="low"), L.GRUCell(2, name="high")], name="stack"),
            L.Dense(2, name="out"),
        ],
        name="tagger",
    )


def shared():
    """Layers and models that are called several times, and a model with two inputs and outputs."""
    a, b = keras.Input((4,)), keras.Input((4,))
    crossed = keras.Model([a, b], [L.Dense(4, name="p")(b), L.Dense(4, name="q")(a)], name="crossed")
    body = keras.Sequential([keras.Input((4,)), L.Dense(4, name="b1"), L.ReLU(name="r"), L.Dense(4, name="b2")], name="body")
    x, relu, twice = keras.Input((4,), name="x"), L.ReLU(name="relu"), L.Dense(4, name="twice")
    first, second = crossed([relu(L.Dense(4, name="u")(x)), relu(L.Dense(4, name="v")(x))])
    y = twice(relu(first))
    return keras.Model(x, L.Dense(1, name="head")(body(L.Subtract(name="less")([body(y), twice(second)]))))


SHARED = {
    "u": ("x",),
    "relu": ("u", "v", "p"),
    "v": ("x",),
    "p": ("v",),
    "twice": ("p", "q"),
    "body/b1": ("twice", "less"),
    "body/r": ("body/b1",),
    "body/b2": ("body/b1",),
    "q": ("u",),
    "less": ("body/b2", "twice"),
    "head": ("body/b2",),
}

CASES = {
    "residual": (residual, RESIDUAL),
    "towers": (towers, TOWERS),
    "encoder": (encoder, ENCODER),
    "translator": (translator, TRANSLATOR),
    "shared": (shared, SHARED),
}


@pytest.mark.parametrize(("build", "expected"), CASES.values(), ids=CASES)
def test_a_model_and_its_files_know_the_inputs(build, expected, tmp_path):
    model = build()
    assert told(graphs.graph(model, None)) == expected
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        assert told(steelyard.weights(tmp_path / name).graph) == expected, name


def test_repeats_several_inputs_and_calls_are_told_apart_live_and_in_files(tmp_path):
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    h = L.Dense(4, name="h")
    y = L.Concatenate(name="cat")([L.Add(name="double")([h(a), h(a)]), b, a, b])
    model = keras.Model([a, b], L.Dense(2, name="head")(y))
    model.save(tmp_path / "model.keras")
    for graph in (graphs.graph(model, None), steelyard.weights(tmp_path / "model.keras").graph):
        assert graph.input_names == ("a", "b")
        assert told(graph) == {"h": ("a",), "double": ("h", "h"), "cat": ("double", "b", "a", "b"), "head": ("cat",)}
        assert {layer.name: layer.calls for layer in graph.layers} == {"h": 2, "double": 1, "cat": 1, "head": 1}
        assert not graph.is_sequential


def test_a_layer_after_both_directions_has_both_as_inputs():
    found = list(told(graphs.graph(tagger(), None)).items())
    (words, first), (ahead, one), (back, other), *rest = found
    assert (first, one, other) == (("input_layer",), (words,), (words,))
    (ahead2, one), (back2, other), (inner, each), (low, under), (high, over), (_, last) = rest
    assert one == other == (ahead, back)
    assert each == (ahead2, back2)
    assert (under, over, last) == ((inner,), (low,), (high,))


class Own(keras.Model):
    """A model with a forward method of its own."""

    def __init__(self):
        super().__init__(name="own")
        self.a, self.b = L.Dense(4, name="a"), L.Dense(4, name="b")

    def call(self, x):
        return self.b(self.a(x))


def test_inside_and_after_a_model_of_its_own_class_inputs_are_not_known():
    x = keras.Input((4,), name="x")
    model = keras.Model(x, L.Dense(2, name="head")(Own()(L.Dense(4, name="first")(x))))
    assert told(graphs.graph(model, None)) == {"first": ("x",), "own/a": None, "own/b": None, "head": None}
    alone = Own()
    alone(np.zeros((1, 4), "float32"))
    assert set(told(graphs.graph(alone, [np.zeros((1, 4), "float32")])).values()) == {None}


def test_the_inputs_of_a_nested_model_are_distinguished_by_name(tmp_path):
    a, b = keras.Input((4,), name="zz"), keras.Input((4,), name="aa")
    inner = keras.Model({"zz": a, "aa": b}, L.Add(name="s")([L.Dense(4, name="p")(a), L.Dense(4, name="q")(b)]), name="inner")
    x = keras.Input((4,), name="x")
    model = keras.Model(x, inner({"zz": L.Dense(4, name="u")(x), "aa": L.Dense(4, name="v")(x)}))
    expected = {"p": ("u",), "q": ("v",), "s": ("p", "q"), "u": ("x",), "v": ("x",)}
    assert told(graphs.graph(model, None)) == expected
    model.save(tmp_path / "model.keras")
    assert told(steelyard.weights(tmp_path / "model.keras").graph) == expected


def test_models_that_call_models_twice_at_every_level_take_little_time():
    def entry(depth):
        """A model in which a smaller one is called twice."""
        name = f"m{depth}"
        if depth == 0:
            return {"class_name": "Dense", "name": name, "config": {"name": name}}
        inner = entry(depth - 1)
        inner["inbound_nodes"] = [[["x", 0, 0, {}]], [[inner["name"], 1 if depth > 1 else 0, 0, {}]]]
        layers = [{"class_name": "InputLayer", "name": "x", "config": {"name": "x"}, "inbound_nodes": []}, inner]
        config = {
            "name": name,
            "layers": layers,
            "input_layers": [["x", 0, 0]],
            "output_layers": [[inner["name"], 2 if depth > 1 else 1, 0]],
        }
        return {"class_name": "Functional", "name": name, "config": config}

    assert told(graph_of(entry(4), ["m0"])) == {"m0": ("x", "m0")}
    assert told(graph_of(entry(40), ["m0"])) == {"m0": None}
    file = from_bytes(bytes(100), "a.keras")
    with steelyard.limits.allow(MEMORY=20_000):
        assert told(graph_of(entry(2), ["m0"], file)) == {"m0": ("x", "m0")}
        assert told(graph_of(entry(8), ["m0"], file)) == {"m0": None}
    assert file.spent == 0

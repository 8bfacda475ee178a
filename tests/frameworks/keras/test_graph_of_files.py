"""The graphs of Keras files: those of the live models, read from the config alone; old and hostile configs too."""

import copy
import json
import random
import time
import zipfile

import keras
import numpy as np
import pytest
from keras import layers as L

import steelyard
from steelyard.codecs.keras.graph import graph_of
from steelyard.core.graph import KINDS
from steelyard.frameworks import keras as graphs

# a config calls these otherwise than the class is called, or has no shape for the last of them
EXPORTED = {"GroupedQueryAttention": "GroupQueryAttention"}
UNKNOWN_LAST = {"TrueDivide"}


def said(graph):
    """All facts of a graph, comparable."""
    layers = [
        (
            layer.name,
            layer.kind,
            EXPORTED.get(layer.class_name, layer.class_name),
            layer.settings,
            layer.input_shape,
            None if layer.class_name in UNKNOWN_LAST else layer.output_shape,
            layer.inputs,
        )
        for layer in graph.layers
    ]
    return layers, graph.is_execution_order, graph.channels, graph.input_shapes


def old_nets():
    """A net with the layers whose shapes an old file leaves to be worked out."""
    x = keras.Input((20, 17, 3), name="image")
    y = L.Conv2D(4, (5, 3), strides=2, activation="relu", name="c1")(x)
    y = L.ZeroPadding2D(((1, 2), (0, 1)), name="pad")(y)
    y = L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="c2")(y)
    y = L.MaxPooling2D(3, strides=2, padding="same", name="p1")(L.BatchNormalization(axis=3, name="bn")(y))
    z = L.SeparableConv2D(8, 3, padding="same", dilation_rate=2, name="c3")(y)
    y = L.Concatenate(name="join")([L.Add(name="sum")([y, z]), z])
    y = L.AveragePooling2D(2, name="p2")(L.UpSampling2D(3, name="up")(y))
    y = L.Conv2DTranspose(3, 4, strides=2, padding="same", name="t1")(L.Conv2DTranspose(3, 3, strides=2, name="t2")(y))
    y = L.Dense(6, name="fc")(L.Dropout(0.5, name="drop")(L.Flatten(name="flat")(y)))
    y = L.Conv1D(5, 2, padding="causal", name="c4")(L.Reshape((-1, 2), name="rows")(y))
    y = L.Permute((2, 1), name="turn")(y)
    y = L.Bidirectional(L.LSTM(4, return_sequences=True, name="lstm"), name="both")(y)
    y = L.TimeDistributed(L.Dense(3, name="each"), name="time")(L.GRU(6, return_sequences=True, name="gru")(y))
    nested = keras.Sequential(
        [keras.Input((5, 3)), L.Conv1D(2, 3, name="n1"), L.GlobalMaxPooling1D(name="n2"), L.Dense(4, name="n3")], name="nested"
    )
    return keras.Model(x, L.RepeatVector(3, name="again")(nested(y)), name="functional")


def tokens():
    return keras.Sequential(
        [
            keras.Input((6,)),
            L.Embedding(9, 4, name="words"),
            L.SimpleRNN(3, name="rnn"),
            L.Dense(2, activation="softmax", name="fc"),
        ],
        name="tokens",
    )


def as_keras2(entry):
    """Write a config of Keras 3 as Keras 2 did: tensors by name alone, no shapes but those of the inputs."""
    if isinstance(entry, list):
        return [as_keras2(each) for each in entry]
    if not isinstance(entry, dict):
        return entry
    entry = {
        key: as_keras2(value)
        for key, value in entry.items()
        if key not in ("build_config", "module", "registered_name", "build_input_shape")
    }
    if "inbound_nodes" in entry:
        entry["inbound_nodes"] = [_call(node) for node in entry["inbound_nodes"]]
    for key in ("input_layers", "output_layers"):
        if key in entry and isinstance(entry[key][0], str):
            entry[key] = [entry[key]]
    if "batch_shape" in entry:
        entry["batch_input_shape"] = entry.pop("batch_shape")
    return entry


def _call(node):
    found = []

    def collect(item):
        if isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
            found.append([*item["config"]["keras_history"], {}])
        elif isinstance(item, (dict, list)):
            for each in item.values() if isinstance(item, dict) else item:
                collect(each)

    collect(node["args"])
    return found


def config_of(model):
    return {"class_name": type(model).__name__, "config": json.loads(json.dumps(model.get_config()))}


def layers_of(model):
    return [weight.layer for weight in steelyard.weights(model).values()]


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_file_has_the_graph_of_the_live_model(golden, tmp_path, ending):
    models = [(case.id, case.build()) for case in golden("keras")] + [("nets", old_nets()), ("tokens", tokens())]
    path = tmp_path / f"model{ending}"
    for name, model in models:
        model.save(path)
        assert said(steelyard.weights(path).graph) == said(graphs.graph(model, None)), name


def test_the_golden_files_hold_the_layers_of_the_golden_cases(golden):
    for case in golden("keras"):
        found = steelyard.weights(case.file(".keras")).graph
        assert found.is_execution_order
        assert {layer.kind for layer in found.layers} <= KINDS
        for name, kinds in case.expected():
            if (case.id, name) != ("weightnorm_dense", "g"):  # Keras has no weight norm: it is folded
                parts = [layer for layer in found.layers if layer.name == name or layer.name.startswith(f"{name}/")]
                assert parts, case.id
                assert {layer.kind for layer in parts} <= kinds, case.id


def test_the_shapes_missing_from_an_old_config_are_those_that_keras_computes():
    for build in (old_nets, tokens):
        model = build()
        layers, executed, channels, inputs = said(graph_of(as_keras2(config_of(model)), layers_of(model)))
        assert (layers, executed, channels, inputs) == said(graphs.graph(model, None))
        assert all(takes and gives for *_, takes, gives, _ in layers)


def test_the_names_of_an_old_file_lack_the_outer_models():
    config = as_keras2(config_of(tokens()))
    found = graph_of(config, ["words", "rnn/simple_rnn_cell", "fc"])
    assert [layer.name for layer in found.layers] == ["words", "rnn/simple_rnn_cell", "fc"]


def test_the_order_of_a_file_is_that_of_its_graph_not_of_its_list():
    model = old_nets()
    config = config_of(model)
    rng = random.Random(0)
    for _ in range(5):
        rng.shuffle(config["config"]["layers"])
        found = graph_of(config, layers_of(model))
        assert found.is_execution_order
        assert [layer.name for layer in found.layers] == [layer.name for layer in graphs.graph(model, None).layers]


def test_two_layers_of_one_path_are_distinguished_as_their_weights_are(tmp_path):
    def inner(name, units):
        x = keras.Input((3,))
        return keras.Model(x, L.Dense(units, name="dense")(x), name=name)

    x = keras.Input((3,))
    model = keras.Model(x, inner("b", 2)(inner("a", 3)(x)))
    model.save(tmp_path / "m.keras")
    read = steelyard.weights(tmp_path / "m.keras")
    assert [(layer.name, layer.output_shape) for layer in read.graph.layers] == [("dense", (3,)), ("dense#2", (2,))]
    assert [layer.name for layer in graphs.graph(model, None).layers] == list(read.layers) == ["dense", "dense#2"]


def test_a_user_s_class_is_not_taken_for_one_of_keras_and_makes_the_order_uncertain(tmp_path):
    @keras.saving.register_keras_serializable(package="mine")
    class Dense(L.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(3,), name="kernel")

        def call(self, x):
            return x * self.kernel

    model = keras.Sequential([keras.Input((3,)), Dense(name="own")], name="net")
    model.save(tmp_path / "m.keras")
    found = steelyard.weights(tmp_path / "m.keras").graph
    assert [(layer.name, layer.kind, layer.class_name) for layer in found.layers] == [("net/own", "other", "Dense")]
    config = config_of(tokens())
    config["class_name"] = "Mine"
    assert not graph_of(config, []).is_execution_order


def test_a_cycle_or_a_missing_layer_makes_the_order_uncertain():
    config = config_of(old_nets())
    by_name = {layer["name"]: layer for layer in config["config"]["layers"]}
    by_name["c1"]["inbound_nodes"] = copy.deepcopy(by_name["fc"]["inbound_nodes"])
    assert not graph_of(config, []).is_execution_order
    config = config_of(old_nets())
    config["config"]["layers"] = [layer for layer in config["config"]["layers"] if layer["name"] != "p1"]
    assert not graph_of(config, []).is_execution_order


def test_weights_alone_have_no_graph_and_a_selection_keeps_that_of_its_file(golden):
    (case,) = [case for case in golden("keras") if case.id == "mlp_relu"]
    assert steelyard.weights(case.file(".weights.h5")).graph is None
    whole = steelyard.weights(case.file(".keras"))
    assert len(whole.select(role="bias").graph.layers) == 3


def test_the_graph_is_read_on_request(tmp_path, monkeypatch):
    tokens().save(tmp_path / "m.keras")
    asked = []
    monkeypatch.setattr("steelyard.codecs.keras.graph.graph_of", lambda *args: asked.append(args))
    read = steelyard.weights(tmp_path / "m.keras")
    assert not asked
    assert read.graph is None
    assert asked


JUNK = [
    None,
    True,
    -1,
    10**40,
    1e308,
    "",
    "relu",
    [],
    {},
    [[[]]],
    ["c1", 0, 0],
    {"class_name": "Dense"},
    [None] * 40,
    [10**9] * 40,
    {"class_name": "RNN", "config": {"cell": [1]}},
]


def places(item):
    """Yield every container of a config, and each key in it."""
    stack = [item]
    while stack:
        held = stack.pop()
        for key in list(held) if isinstance(held, dict) else range(len(held)):
            yield held, key
            if isinstance(held[key], (dict, list)):
                stack.append(held[key])


@pytest.mark.parametrize("old", [False, True])
def test_a_config_with_nonsense_anywhere_never_raises_an_error(old):
    rng = random.Random(1)
    plain = config_of(old_nets())
    plain = as_keras2(plain) if old else plain
    for _ in range(300):
        config = copy.deepcopy(plain)
        for _ in range(rng.choice((1, 1, 3))):
            held, key = rng.choice(list(places(config)))
            held[key] = copy.deepcopy(rng.choice(JUNK))
        for layer in graph_of(config, ["c1", "both/forward_lstm/lstm_cell"]).layers:
            assert isinstance(layer.name, str)
            assert layer.kind in KINDS


def test_deep_and_wide_configs_cost_little():
    begun = time.process_time()
    deep = {"class_name": "Dense", "config": {"name": "end"}}
    for _ in range(20_000):
        deep = {"class_name": "TimeDistributed", "config": {"name": "t", "layer": deep}}
    assert graph_of({"class_name": "Sequential", "config": {"layers": [deep]}}, []).layers == []
    entry = {"class_name": "Dense", "config": {"name": "d", "units": 2}}
    wide = graph_of({"class_name": "Sequential", "config": {"name": "s", "layers": [entry] * 20_000}}, ["s/d"])
    assert len(wide.layers) == 20_000
    chain = [
        {
            "class_name": "Dense",
            "name": str(n),
            "config": {"name": str(n)},
            "inbound_nodes": [[[str(n - 1), 0, 0, {}]]] if n else [],
        }
        for n in range(20_000)
    ]
    net = {
        "class_name": "Functional",
        "config": {"layers": chain, "input_layers": [["0", 0, 0]], "output_layers": [["19999", 0, 0]]},
    }
    assert len(graph_of(net, []).layers) == 20_000
    assert time.process_time() - begun < 10


def test_a_file_with_an_invalid_config_has_no_graph(tmp_path):
    tokens().save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as whole, zipfile.ZipFile(tmp_path / "n.keras", "w") as broken:
        for member in whole.namelist():
            broken.writestr(member, "[1, 2" if member == "config.json" else whole.read(member))
    read = steelyard.weights(tmp_path / "n.keras")
    assert read.graph is None
    assert np.isfinite(read.to_vector()).all()

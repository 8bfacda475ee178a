"""Flax as graphs that run: the golden nets have the golden outputs, and layers are recognised by the names of their weights."""

import carried
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx, serialization
from flax.core import freeze
from flax.training.train_state import TrainState

import steelyard
from steelyard.core.graph import KINDS
from steelyard.core.plugins import load
from steelyard.errors import UnknownModelError

GOLDEN = carried.folder("golden")
CASES = {case["id"]: case for case in carried.golden_cases()}
LINEN = [case for case in CASES if "linen" in CASES[case].get("builders", {}) and "linen" in CASES[case]["files"]]
NNX = [case for case in CASES if "nnx" in CASES[case].get("builders", {}) and "nnx" in CASES[case]["files"]]
WORDS = {
    "convt": "conv transpose",
    "depthwise": "conv",
    "bn": "batch norm",
    "rms": "rms norm",
    "mha": "attention",
}
runner = load("frameworks", "flax")


def built(case, framework):
    scope = {"__name__": "golden"}
    exec(CASES[case]["builders"][framework], scope)
    return scope["build"]()


def arrays(case, framework):
    layout = CASES[case]["layout"][framework]
    with np.load(GOLDEN / CASES[case]["io"]) as io:
        return [io[name] for name in layout["inputs"]], io[layout["output"]]


def golden_linen(case):
    module, raw = built(case, "linen"), (GOLDEN / CASES[case]["files"]["linen"][0]).read_bytes()
    return module.bind(serialization.msgpack_restore(raw))


def golden_nnx(case):
    model = built(case, "nnx")
    stored = steelyard.weights(GOLDEN / CASES[case]["files"]["nnx"][0])
    own = steelyard.weights(model)
    return own.assign({name: stored[name].numpy() for name in own if name in stored})


def error(given, expected):
    return abs(np.asarray(given, np.float64).reshape(expected.shape) - expected).max() / abs(expected).max()


@pytest.mark.parametrize("case", LINEN)
def test_a_golden_net_of_linen_has_the_golden_output_in_float64(case):
    inputs, expected = arrays(case, "linen")
    found = runner.run(golden_linen(case), inputs)
    assert found.outputs[0].dtype == np.float64
    assert error(found.outputs[0], expected) <= CASES[case]["tolerance"]


@pytest.mark.parametrize("case", NNX)
def test_a_golden_net_of_nnx_has_the_golden_output_in_float64(case):
    inputs, expected = arrays(case, "nnx")
    found = runner.run(golden_nnx(case), inputs)
    assert found.outputs[0].dtype == np.float64
    assert error(found.outputs[0], expected) <= CASES[case]["tolerance"]


def names_of(layer, framework):
    """Return the names of a layer in the golden index; those of a recurrent layer are the names of the owner of its cells."""
    names = layer["names"][framework]
    if isinstance(names, dict):
        return list(names.values())
    return names if isinstance(names, list) else [names]


def kinds_of(layer, case):
    kind = layer["kind"]
    if kind == "norm":
        return {"layernorm": "layer norm", "groupnorm": "group norm", "instancenorm": "instance norm"}.get(
            case.partition("_2")[0], "layer norm"
        )
    return WORDS.get(kind, kind)


def check_layers(case, framework, graph, weights):
    assert graph.is_execution_order
    assert graph.channels == "last"
    assert {layer.kind for layer in graph.layers} <= KINDS
    found = {layer.name: layer for layer in graph.layers}
    held = {weight.layer.partition("/")[2] if framework == "linen" else weight.layer for weight in weights.values()}
    for layer in CASES[case]["layers"]:
        if layer["kind"] == "separable" or (layer["kind"] == "prelu" and "weightnorm" in case):
            continue
        for name in names_of(layer, framework):
            near = [each for each in found if each == name or each.startswith(f"{name}/" if name else "")]
            assert near, (case, name, list(found))
            assert {found[each].kind for each in near if found[each].kind in ("dense", kinds_of(layer, case))}
    for name in held:
        assert any(name == each or name.startswith(f"{each}/" if each else "") for each in found), (name, list(found))


@pytest.mark.parametrize("case", LINEN)
def test_the_graph_of_a_golden_net_of_linen_names_its_layers(case):
    model = golden_linen(case)
    check_layers(case, "linen", runner.graph(model, arrays(case, "linen")[0]), steelyard.weights(model))


@pytest.mark.parametrize("case", NNX)
def test_the_graph_of_a_golden_net_of_nnx_names_its_layers(case):
    model = golden_nnx(case)
    check_layers(case, "nnx", runner.graph(model, arrays(case, "nnx")[0]), steelyard.weights(model))


class Branched(nn.Module):
    """A net whose automatic numbers follow construction, with two towers, statistics, dropout and a layer used twice."""

    @nn.compact
    def __call__(self, x, train: bool = True):
        y = nn.Dense(3)(nn.relu(nn.Dense(8)(x)))
        shared = nn.Dense(3, name="shared")
        z = shared(shared(y))
        z = nn.BatchNorm(use_running_average=not train)(z)
        return nn.Dropout(0.5, deterministic=not train)(z) + nn.LayerNorm(name="side")(y)


class State(TrainState):
    batch_stats: dict


@pytest.fixture(scope="module")
def branched():
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    module = Branched()
    return module, module.init(jax.random.key(0), x, train=False), x


def test_linen_layers_are_in_execution_order_and_know_their_inputs(branched):
    module, variables, x = branched
    graph = runner.graph(module.bind(variables), [x])
    assert graph.is_execution_order
    assert graph.input_shapes == ((5,),)
    assert [(layer.name, layer.kind, layer.input_shape, layer.output_shape, layer.inputs) for layer in graph.layers] == [
        ("Dense_1", "dense", (5,), (8,), ("x",)),
        ("relu", "activation", (8,), (8,), ("Dense_1",)),
        ("Dense_0", "dense", (8,), (3,), ("relu",)),
        ("shared", "dense", (3,), (3,), ("Dense_0", "shared")),
        ("BatchNorm_0", "batch norm", (3,), (3,), ("shared",)),
        ("Dropout_0", "dropout", (3,), (3,), ("BatchNorm_0",)),
        ("side", "layer norm", (3,), (3,), ("Dense_0",)),
        ("add", "merge", (3,), (3,), ("Dropout_0", "side")),
    ]
    assert graph.layers[4].settings == {"epsilon": 1e-5, "momentum": 0.99, "fast_variance": True}


def test_a_net_of_linen_runs_in_inference_mode_and_is_unchanged(branched):
    module, variables, x = branched
    before = steelyard.weights(variables).to_vector()
    for model in (module.bind(variables), State.create(apply_fn=module.apply, tx=optax.sgd(0.1), **variables)):
        run = runner.run(model, [x])
        np.testing.assert_allclose(run.outputs[0], module.apply(variables, x, train=False), atol=1e-5)
        np.testing.assert_allclose(run.layers["side"] + run.layers["Dropout_0"], run.outputs[0])
        assert run.outputs[0].dtype == np.float64
        listed = [layer.name for layer in runner.graph(model, [x]).layers]
        assert list(run.layers) == [name for name in listed if name not in ("relu", "add")]
    np.testing.assert_array_equal(steelyard.weights(variables).to_vector(), before)
    assert not jax.config.jax_enable_x64


def test_variables_without_a_module_have_the_layers_of_their_names(branched):
    _, variables, x = branched
    graph = load("frameworks", "jax").graph(variables, None)
    assert not graph.is_execution_order
    assert [(layer.name, layer.kind) for layer in graph.layers] == [
        ("BatchNorm_0", "batch norm"),
        ("Dense_0", "dense"),
        ("Dense_1", "dense"),
    ]
    with pytest.raises(UnknownModelError, match=r"module\.bind\(variables\)"):
        runner.run(freeze(variables), [x])


class Towers(nnx.Module):
    def __init__(self, rngs):
        self.b = nnx.Linear(4, 4, rngs=rngs)
        self.a = nnx.Linear(4, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.scale = nnx.Param(jnp.full(4, 2.0))
        self.cell = nnx.LSTMCell(4, 3, rngs=rngs)

    def __call__(self, x):
        y = self.drop(self.norm(self.a(x))) * self.scale[...] + self.b(x)
        return nnx.RNN(self.cell)(y[:, None])


def test_nnx_layers_are_in_execution_order_and_the_model_stays_in_training():
    model = Towers(nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    before, method = steelyard.weights(model).to_vector(), nnx.Linear.__call__
    graph, run = runner.graph(model, [x]), runner.run(model, [x])
    assert [(layer.name, layer.kind, layer.inputs) for layer in graph.layers] == [
        ("", "other", None),
        ("a", "dense", ("x",)),
        ("norm", "batch norm", ("a",)),
        ("drop", "dropout", ("norm",)),
        ("mul", "other", ("drop",)),
        ("b", "dense", ("x",)),
        ("add", "merge", ("mul", "b")),
        ("cell", "lstm", ("add",)),
    ]
    assert graph.is_execution_order
    assert nnx.Linear.__call__ is method
    assert model.norm.use_running_average is None or not model.norm.use_running_average
    np.testing.assert_array_equal(steelyard.weights(model).to_vector(), before)
    copy = nnx.clone(model)
    copy.eval()
    np.testing.assert_allclose(run.outputs[0], copy(x), atol=1e-5)
    np.testing.assert_allclose(run.layers["b"], copy.b(x), atol=1e-5)


def test_a_sequence_of_nnx_is_certain_without_a_run():
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Linear(4, 3, rngs=rngs), nnx.gelu, nnx.Bidirectional(*cells(rngs), rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
    )
    graph = runner.graph(model, None)
    assert graph.is_execution_order
    assert [(layer.name, layer.settings.get("direction"), layer.inputs) for layer in graph.layers] == [
        ("layers/0", None, ("input",)),
        ("layers/1", None, ("layers/0",)),
        ("layers/2/forward_rnn/cell", "forward", ("layers/1",)),
        ("layers/2/backward_rnn/cell", "backward", ("layers/1",)),
        ("layers/3", None, ("layers/2/forward_rnn/cell", "layers/2/backward_rnn/cell")),
    ]
    assert graph.layers[1].settings["activation"] == "gelu_tanh"
    seen = runner.graph(model, [np.ones((2, 5, 4), "f")])
    assert [layer.name for layer in seen.layers] == [layer.name for layer in graph.layers]
    assert [layer.output_shape for layer in seen.layers] == [(5, 3), None, (5, 2), (5, 2), (5, 2)]
    assert [layer.settings.get("returns") for layer in seen.layers] == [None, None, "all", "all", None]


@pytest.mark.parametrize("carry", [False, True])
def test_a_recurrent_layer_returns_all_steps_unless_it_returns_its_state_too(carry):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.rnn = nnx.RNN(nnx.GRUCell(3, 2, rngs=rngs), rngs=rngs)

        def __call__(self, x):
            made = self.rnn(x, return_carry=carry)
            return made[0] if carry else made

    class Twin(nn.Module):
        @nn.compact
        def __call__(self, x):
            made = nn.RNN(nn.GRUCell(2), return_carry=carry)(x)
            return made[0] if carry else made

    x = np.ones((2, 5, 3), "f")
    twin = Twin()
    for model in (Net(nnx.Rngs(0)), twin.bind(twin.init(jax.random.key(0), x))):
        (layer,) = (layer for layer in runner.graph(model, [x]).layers if layer.kind == "gru")
        assert layer.settings.get("returns") == (None if carry else "all")
        assert runner.run(model, [x]).outputs[0].shape == ((2, 2) if carry else (2, 5, 2))


def cells(rngs):
    return [nnx.RNN(nnx.GRUCell(3, 2, rngs=rngs)) for _ in range(2)]

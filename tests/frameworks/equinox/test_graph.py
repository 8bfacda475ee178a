"""Equinox as graphs that run: one example at a time, in inference mode, with the layers by the paths of their weights."""

import carried
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import steelyard
from steelyard.core.plugins import load
from steelyard.errors import ShapeError, UnknownModelError

GOLDEN = carried.folder("golden")
INDEX = {case["id"]: case for case in carried.golden_cases()}
CASES = [case for case in INDEX if "eqx" in INDEX[case].get("builders", {}) and "eqx" in INDEX[case]["files"]]
WORDS = {"convt": "conv transpose", "depthwise": "conv", "rms": "rms norm", "mha": "attention"}
NORMS = {"layernorm_2axes": "layer norm", "groupnorm": "group norm"}
runner = load("frameworks", "equinox")


def golden(case):
    scope = {"__name__": "golden"}
    exec(INDEX[case]["builders"]["eqx"], scope)
    return eqx.tree_deserialise_leaves(GOLDEN / INDEX[case]["files"]["eqx"][0], scope["build"]())


def arrays(case):
    layout = INDEX[case]["layout"]["eqx"]
    with np.load(GOLDEN / INDEX[case]["io"]) as io:
        return [io[name] for name in layout["inputs"]], io[layout["output"]]


@pytest.mark.parametrize("case", CASES)
def test_a_golden_net_has_the_golden_output_in_float64(case):
    inputs, expected = arrays(case)
    (found,) = runner.run(golden(case), inputs).outputs
    assert found.dtype == np.float64
    assert found.shape == expected.shape
    assert abs(found - expected).max() / abs(expected).max() <= INDEX[case]["tolerance"]


@pytest.mark.parametrize("case", CASES)
def test_the_graph_of_a_golden_net_names_its_layers_and_their_kinds(case):
    model = golden(case)
    graph = runner.graph(model, arrays(case)[0])
    assert graph.is_execution_order
    assert graph.channels == "first"
    found = {layer.name: layer.kind for layer in graph.layers if layer.kind != "activation"}
    expected = [layer for layer in INDEX[case]["layers"] if "weightnorm" not in case or layer["kind"] == "dense"]
    names = [layer["names"]["eqx"].replace(".0", "[0]").replace(".1", "[1]").replace(".2", "[2]") for layer in expected]
    kinds = [NORMS.get(case) or WORDS.get(layer["kind"], layer["kind"]) for layer in expected]
    assert found == dict(zip(names, kinds, strict=True))


class Towers(eqx.Module):
    head: eqx.nn.Linear
    body: eqx.nn.MLP
    drop: eqx.nn.Dropout
    norm: eqx.nn.BatchNorm
    gain: jax.Array

    def __init__(self, key):
        self.head = eqx.nn.Linear(4, 4, key=key)
        self.body = eqx.nn.MLP(4, 4, 5, 1, key=key)
        self.drop = eqx.nn.Dropout(0.5)
        self.norm = eqx.nn.BatchNorm(4, "batch", mode="ema")
        self.gain = jnp.full(4, 2.0)

    def __call__(self, x, state, key=None):
        y, state = self.norm(self.drop(self.body(x), key=key), state)
        return y * self.gain + jax.vmap(self.head)(x[None])[0], state


@pytest.fixture(scope="module")
def towers():
    model, state = eqx.nn.make_with_state(Towers)(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    step = jax.vmap(model, axis_name="batch", in_axes=(0, None, 0), out_axes=(0, None))
    _, state = step(jnp.asarray(x), state, jax.random.split(jax.random.key(1), 6))
    return model, state, x


def test_layers_are_in_execution_order_and_know_their_inputs(towers):
    model, state, x = towers
    graph = runner.graph(eqx.Partial(model, state=state), [x])
    listed = [(layer.name, layer.kind, layer.input_shape, layer.inputs) for layer in graph.layers]
    assert listed[1:10] == [
        ("func.body.layers[0]", "dense", (4,), ("input",)),
        ("relu", "activation", (5,), ("func.body.layers[0]",)),
        ("func.body.layers[1]", "dense", (5,), ("relu",)),
        ("func.drop", "dropout", (4,), ("func.body.layers[1]",)),
        ("func.norm", "batch norm", (4,), ("func.drop",)),
        ("mul", "other", (4,), ("func.norm",)),
        ("func.head", "dense", (1, 4), ("input",)),
        ("getitem", "other", (1, 4), ("func.head",)),
        ("add", "merge", (4,), ("mul", "getitem")),
    ]
    assert listed[0][:2] == ("func", "other")  # which has the gain
    assert graph.layers[5].settings["epsilon"] == 1e-5


def test_a_model_with_a_state_runs_in_inference_mode_and_is_unchanged(towers):
    model, state, x = towers
    before, method = steelyard.weights(model).to_vector(), vars(eqx.nn.Linear)["__call__"]
    run = runner.run(eqx.Partial(model, state=state), [x])
    shown = eqx.nn.inference_mode(model)
    expected = jax.vmap(lambda each: shown(each, state)[0])(jnp.asarray(x))
    assert [output.shape for output in run.outputs] == [(6, 4)]
    np.testing.assert_allclose(run.outputs[0], expected, atol=1e-5)
    np.testing.assert_allclose(run.layers["func.head"][:, 0], jax.vmap(model.head)(jnp.asarray(x)), atol=1e-5)
    np.testing.assert_array_equal(steelyard.weights(model).to_vector(), before)
    assert vars(eqx.nn.Linear)["__call__"] is method
    assert not jax.config.jax_enable_x64
    with pytest.raises(UnknownModelError, match=r"eqx\.Partial\(model, state=state\)"):
        runner.run(model, [x])


class Batched(eqx.Module):
    fc: eqx.nn.Linear

    def __call__(self, x):
        return jax.vmap(self.fc)(x)


def test_a_model_for_batches_gets_a_batch(towers):
    x = towers[2]
    model = Batched(eqx.nn.Linear(4, 3, key=jax.random.key(0)))
    run = runner.run(model, [x])
    np.testing.assert_allclose(run.outputs[0], model(jnp.asarray(x)), atol=1e-6)
    np.testing.assert_array_equal(run.layers["fc"], run.outputs[0])
    assert runner.graph(model, [x]).layers[0].output_shape == (3,)
    with pytest.raises(ShapeError, match=r"neither one example .* nor a batch"):
        runner.run(model, [x[:, :2]])


def test_a_sequence_is_certain_without_a_run():
    keys = jax.random.split(jax.random.key(0), 2)
    model = eqx.nn.Sequential(
        [
            eqx.nn.Conv1d(2, 3, 2, padding="SAME", key=keys[0]),
            eqx.nn.Lambda(jax.nn.silu),
            eqx.nn.Lambda(lambda x: x.reshape(-1)),
            eqx.nn.WeightNorm(eqx.nn.Linear(12, 4, key=keys[1])),
        ]
    )
    graph = runner.graph(model, None)
    assert graph.is_execution_order
    assert [(layer.name, layer.kind) for layer in graph.layers] == [
        ("layers[0]", "conv"),
        ("layers[1]", "activation"),
        ("layers[2]", "other"),
        ("layers[3]", "dense"),
    ]
    assert [layer.settings for layer in graph.layers] == [
        {"strides": (1,), "padding": "same", "dilation": (1,), "groups": 1},
        {"activation": "silu"},
        {},
        {"weight_norm": True},
    ]


def test_the_half_of_a_partition_that_holds_the_arrays_has_layers_but_no_certain_order():
    arrays, _ = eqx.partition(eqx.nn.MLP(3, 2, 4, 2, key=jax.random.key(0)), eqx.is_array)
    w = steelyard.weights(arrays)
    assert [layer.name for layer in w.graph.layers] == ["layers[0]", "layers[1]", "layers[2]"]
    assert not w.graph.is_execution_order
    assert "layers[2].bias" in str(w)

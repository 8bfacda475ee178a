"""Laws that hold for the nets of every framework in every format: what is saved comes back, and what is assigned is there."""

import tempfile
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import steelyard
from steelyard.core import plugins
from steelyard.core.casting import common_dtype
from steelyard.errors import FormatError, TieLostWarning

NEEDS_A_MODEL = {"onnx", "keras"}
"""Formats that write only into the layout of a model that is there; their own tests do this with it."""

WITHOUT_TIES = {".msgpack"}
"""Formats that have no place for the fact that two weights are tied: Flax writes a shared array twice."""

WITHOUT_TYPES = {".gguf", "model.json"}
"""Formats that do not hold every type of number."""
NEVER_HELD = {("sklearn", "model.json"), ("torch", "model.json")}
"""Nets that have numbers of such a type in every case."""


@cache
def suffixes():
    modules = {name: plugins.load("formats", name) for name in plugins.names("formats") if name not in NEEDS_A_MODEL}
    return sorted(module.SUFFIXES[0] for module in modules.values() if hasattr(module, "write"))


def arrays(draw):
    """A dict of arrays of any numeric type; two of them may be the same object."""
    dtypes = st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u1", "?", "c8"])
    shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    net = {f"layer{n}.w": rng.normal(size=draw(shapes)).astype(draw(dtypes)) for n in range(draw(st.integers(1, 4)))}
    return net | ({"tie": net["layer0.w"]} if draw(st.booleans()) else {})


def torch_net(draw):
    """A module with norms, counters, frozen, tied and non-contiguous parameters, in a wrapper or not."""
    import torch
    from torch import nn

    torch.manual_seed(draw(st.integers(0, 99)))
    width, dtype = draw(st.integers(1, 4)), draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]))
    first = nn.Linear(width, width, bias=draw(st.booleans()))
    last = first if draw(st.booleans()) else nn.Linear(width, width)  # a layer that is used twice
    net = nn.Sequential(first, nn.BatchNorm1d(width), nn.Conv2d(2, 3, 2), last).to(dtype)
    if draw(st.booleans()):
        net = net.to(memory_format=torch.channels_last)
    if draw(st.booleans()):
        net[3].weight = net[0].weight
    net[1].weight.requires_grad_(draw(st.booleans()))
    return nn.ModuleDict({"module": net}) if draw(st.booleans()) else net


def sklearn_net(draw):
    """A fitted perceptron or linear model, by itself or in a pipeline."""
    from sklearn.linear_model import LinearRegression
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    perceptron = MLPRegressor(hidden_layer_sizes=(draw(st.integers(1, 3)),), solver="lbfgs", max_iter=2, tol=1e9)
    net = perceptron if draw(st.booleans()) else LinearRegression()
    return (make_pipeline(StandardScaler(), net) if draw(st.booleans()) else net).fit(x, y)


def jax_tree(draw):
    """A tree of JAX arrays."""
    import jax.numpy as jnp

    rng = np.random.default_rng(draw(st.integers(0, 99)))
    dtype = draw(st.sampled_from([jnp.float32, jnp.bfloat16, jnp.int32]))
    kernel = jnp.asarray(rng.normal(size=(2, draw(st.integers(1, 3)))), dtype)
    return {"params": {"Dense_0": {"kernel": kernel, "bias": jnp.zeros(kernel.shape[1], dtype)}}}


def keras_net(draw):
    """A model with a norm and a layer that is used twice."""
    import keras

    keras.utils.set_random_seed(draw(st.integers(0, 99)))
    width = draw(st.integers(1, 3))
    shared, x = keras.layers.Dense(width), keras.Input((width,))
    return keras.Model(x, shared(keras.layers.BatchNormalization()(shared(x))))


NETS = {"numpy": arrays, "torch": torch_net, "sklearn": sklearn_net, "jax": jax_tree, "keras": keras_net}
EXAMPLES = {"numpy": 30, "torch": 20, "sklearn": 10, "jax": 10, "keras": 2}


@pytest.mark.filterwarnings("ignore::steelyard.errors.NonFiniteWarning")
@pytest.mark.parametrize("suffix", suffixes())
@pytest.mark.parametrize("kind", NETS)
def test_what_is_saved_comes_back_the_same(kind, suffix):
    saved = []

    @settings(max_examples=EXAMPLES[kind], deadline=None)
    @given(st.data())
    def law(data):
        net = NETS[kind](data.draw)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"net.safetensors{suffix}" if suffix == ".index.json" else f"net{suffix}")
            before = steelyard.weights(net)
            lost = suffix in WITHOUT_TIES and any(weight.tied for weight in before.values())
            told = pytest.warns(TieLostWarning) if lost else nullcontext()
            with suppress(FormatError) if suffix in WITHOUT_TYPES else told:
                steelyard.save(net, path, shard_size=200 if suffix == ".index.json" else None)
            if not path.exists():
                return
            saved.append(path)
            after = steelyard.weights(path)
            assert steelyard.diff(before, after).same
            assert steelyard.digest(before) == steelyard.digest(after)
            assert suffix in WITHOUT_TIES or after.size == before.size

    law()
    assert bool(saved) != ((kind, suffix) in NEVER_HELD)


@pytest.mark.parametrize("kind", NETS)
def test_what_is_assigned_is_there_afterwards(kind):
    @settings(max_examples=EXAMPLES[kind], deadline=None)
    @given(st.data())
    def law(data):
        net = NETS[kind](data.draw)
        w = steelyard.weights(net)
        turned = {weight.name: weight.numpy().reshape(-1)[::-1].reshape(weight.shape) for weight in w.distinct().values()}
        dtype = common_dtype(weight.dtype for weight in w.values())
        vector = np.concatenate([array.reshape(-1).astype(dtype) for array in turned.values()])
        assert np.array_equal(steelyard.weights(w.assign(vector)).to_vector(dtype=dtype).view("u1"), vector.view("u1"))

    law()


@pytest.mark.parametrize("kind", NETS)
def test_parameters_and_buffers_and_the_rest_are_all_that_there_is(kind):
    @settings(max_examples=EXAMPLES[kind], deadline=None)
    @given(st.data())
    def law(data):
        net = NETS[kind](data.draw)
        w = steelyard.weights(net)
        assert sum(w.counts) == w.size == sum(weight.size for weight in w.distinct().values())
        assert not w.unreadable

    law()

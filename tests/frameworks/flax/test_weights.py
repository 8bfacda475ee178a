"""Flax: linen variables as trees that are never changed, NNX modules in place, by the paths of each."""

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.core import freeze
from flax.training.train_state import TrainState
from jax.flatten_util import ravel_pytree
from outputs import assert_close

import steelyard
from steelyard.errors import NotFittedError, ShapeError, UnknownModelError


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(4, (2, 3))(x)
        x = nn.BatchNorm(use_running_average=not train, use_scale=False)(x)
        x = nn.ConvTranspose(3, (2, 2), name="up")(x)
        x = x.reshape(x.shape[0], -1, 3)
        x = nn.MultiHeadDotProductAttention(3)(nn.Dense(6)(x))
        x = nn.RNN(nn.OptimizedLSTMCell(3))(x)
        x = nn.LayerNorm()(x).reshape(x.shape[0], -1)
        for _ in range(11):
            x = nn.Dense(3)(x)
        return nn.Dense(2, name="head")(x)


class State(TrainState):
    batch_stats: dict


@pytest.fixture(scope="module")
def linen():
    model = Linen()
    x = jax.random.normal(jax.random.key(1), (8, 3, 3, 2))
    variables = model.init(jax.random.key(0), x)
    state = State.create(
        apply_fn=model.apply, params=variables["params"], tx=optax.adam(0.01), batch_stats=variables["batch_stats"]
    )

    @jax.jit
    def step(state):
        def loss(params):
            given = {"params": params, "batch_stats": state.batch_stats}
            y, new = model.apply(given, x, train=True, mutable=["batch_stats"])
            return ((y - 1) ** 2).mean(), new["batch_stats"]

        slope, stats = jax.grad(loss, has_aux=True)(state.params)
        return state.apply_gradients(grads=slope).replace(batch_stats=stats)

    for _ in range(3):
        state = step(state)
    return model, {"params": state.params, "batch_stats": state.batch_stats}, state, x


def test_linen_variables_have_flaxs_paths_and_the_order_and_vector_of_jax(linen):
    _, variables, _, _ = linen
    w = steelyard.weights(variables)
    flat = flax.traverse_util.flatten_dict(variables, sep="/")
    assert set(w) == set(flat)
    assert "params/Dense_0/kernel" in w
    assert list(w) == [
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree_util.tree_flatten_with_path(variables)[0]
    ]
    for name, array in flat.items():
        np.testing.assert_array_equal(w[name].numpy(), array)
    assert w.to_vector().tobytes() == np.asarray(ravel_pytree(variables)[0]).tobytes()
    params = w.select(trainable=True).to_vector()
    assert params.tobytes() == np.asarray(ravel_pytree(variables["params"])[0]).tobytes()
    assert w["params/Dense_0/kernel"].layer == "params/Dense_0"


def test_insertion_order_does_not_matter_since_a_trained_tree_is_sorted(linen):
    _, variables, _, _ = linen
    turned = {key: dict(reversed(part.items())) for key, part in reversed(variables.items())}
    np.testing.assert_array_equal(steelyard.weights(turned).to_vector(), steelyard.weights(variables).to_vector())


def test_roles_and_axes_follow_from_linen_s_names(linen):
    w = steelyard.weights(linen[1])
    expected = {
        "params/Conv_0/kernel": ("kernel", "kh kw in out"),
        "params/Conv_0/bias": ("bias", "out"),
        "params/up/kernel": ("kernel", ""),  # a convolution, or a transposed one: the name does not show which
        "params/BatchNorm_0/bias": ("offset", "channel"),
        "batch_stats/BatchNorm_0/mean": ("mean", "channel"),
        "batch_stats/BatchNorm_0/var": ("variance", "channel"),
        "params/LayerNorm_0/scale": ("scale", "channel"),
        "params/LayerNorm_0/bias": ("offset", "channel"),
        "params/MultiHeadDotProductAttention_0/query/kernel": ("kernel", "in heads dim"),
        "params/MultiHeadDotProductAttention_0/query/bias": ("bias", "heads dim"),
        "params/MultiHeadDotProductAttention_0/out/kernel": ("kernel", "heads dim out"),
        "params/OptimizedLSTMCell_0/ig/kernel": ("kernel", "in [g]*out"),
        "params/OptimizedLSTMCell_0/hg/kernel": ("recurrent kernel", "in [g]*out"),
        "params/OptimizedLSTMCell_0/hg/bias": ("bias", "[g]*out"),
        "params/head/kernel": ("kernel", "in out"),
    }
    assert {name: (str(w[name].role), w[name].axes) for name in expected} == expected
    assert w["batch_stats/BatchNorm_0/mean"].trainable is False
    assert w["params/head/kernel"].trainable is True


NAMED = [  # layers under names of their own, known by their parts
    (
        nn.RNN(nn.LSTMCell(3)),
        (1, 4, 2),
        {"cell/ii/kernel": "in [i]*out", "cell/hf/kernel": "in [f]*out", "cell/hg/bias": "[g]*out"},
    ),
    (
        nn.RNN(nn.GRUCell(3)),
        (1, 4, 2),
        {"cell/in/kernel": "in [n]*out", "cell/hn/bias": "[n]*out", "cell/hz/kernel": "in [z]*out"},
    ),
    (nn.RNN(nn.SimpleCell(3)), (1, 4, 2), {"cell/i/bias": "out", "cell/h/kernel": "in out"}),
    (nn.MultiHeadDotProductAttention(2), (1, 4, 6), {}),
    (nn.Sequential([nn.MultiHeadDotProductAttention(2)]), (1, 4, 6), {"layers_0/key/kernel": "in heads dim"}),
    (nn.Sequential([nn.DenseGeneral((2, 3))]), (1, 4), {"layers_0/bias": ""}),
    (nn.WeightNorm(nn.Dense(3)), (1, 4), {"layer_instance/kernel/scale": "out", "layer_instance/bias": "out"}),
]


@pytest.mark.parametrize(("module", "shape", "expected"), NAMED, ids=range(len(NAMED)))
def test_a_layer_with_a_name_of_its_own_is_recognised_by_its_parts(module, shape, expected):
    w = steelyard.weights(module.init(jax.random.key(0), jnp.ones(shape)))
    assert {name: w[f"params/{name}"].axes for name in expected} == expected
    recurrent = {name.split("/")[-2][0] for name, weight in w.items() if weight.role == "recurrent kernel"}
    assert recurrent == ({"h"} if isinstance(module, nn.RNN) else set())
    if any("heads" in axes for axes in expected.values()) or not expected:
        assert all("heads" in weight.axes for weight in w.values() if len(weight.shape) > 1)


def test_a_dense_layer_with_several_output_axes_numbers_them():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.DenseGeneral((2, 3), axis=(-2, -1))(x)

    w = steelyard.weights(Net().init(jax.random.key(0), jnp.ones((1, 4, 5))))
    assert w["params/DenseGeneral_0/kernel"].axes == "in1 in2 out1 out2"
    assert w["params/DenseGeneral_0/bias"].axes == "out1 out2"


def test_assign_returns_new_variables_with_equal_outputs(linen):
    model, variables, _, x = linen
    other = model.init(jax.random.key(5), x)
    before = steelyard.weights(other).copy()
    vector = steelyard.weights(variables).to_vector()
    new = steelyard.weights(other).assign(vector)
    vector[:] = np.nan
    np.testing.assert_array_equal(steelyard.weights(new).to_vector(), steelyard.weights(variables).to_vector())
    assert_close(model.apply(new, x), model.apply(variables, x))
    np.testing.assert_array_equal(steelyard.weights(other).to_vector(), before.to_vector())


def test_frozen_dicts_and_bound_modules_are_listed_as_their_variables(linen):
    model, variables, _, x = linen
    w = steelyard.weights(variables)
    frozen, bound = steelyard.weights(freeze(variables)), steelyard.weights(model.bind(variables))
    assert list(frozen) == list(bound) == list(w)
    zero = frozen.assign(np.zeros(w.size))
    assert isinstance(zero, flax.core.FrozenDict)
    assert not model.apply(zero, x).any()
    assert not bound.assign(np.zeros(w.size))(x).any()
    assert next(iter(steelyard.weights({"params": freeze(variables["params"])}))) == "params/BatchNorm_0/bias"


def test_the_collections_of_a_train_state_are_listed(linen):
    _, variables, state, x = linen
    w = steelyard.weights(state)
    assert list(w) == list(steelyard.weights(variables))
    new = w.assign(np.zeros(w.size))
    assert (type(new), int(new.step)) == (State, 3)
    assert not new.apply_fn({"params": new.params, "batch_stats": new.batch_stats}, x).any()
    assert state.params["head"]["kernel"].any()
    new.apply_gradients(grads=state.params)
    assert next(iter(steelyard.weights({"best": state}))) == "best.batch_stats/BatchNorm_0/mean"


def test_boxes_with_partition_names_add_nothing_to_names():
    initial = nn.with_partitioning(nn.initializers.ones, ("a", "b"))
    variables = nn.Dense(3, kernel_init=initial).init(jax.random.key(0), jnp.ones((1, 2)))
    w = steelyard.weights(variables)
    assert list(w) == ["params/bias", "params/kernel"]
    assert (w["params/kernel"].role, w["params/kernel"].axes) == ("kernel", "in out")
    new = w.assign({"params/kernel": np.zeros((2, 3))})
    assert new["params"]["kernel"].names == ("a", "b")


def test_the_error_for_a_linen_module_alone_points_to_its_variables():
    with pytest.raises(NotFittedError, match=r"model\.init"):
        steelyard.weights(Linen())
    with pytest.raises(UnknownModelError, match="flax GraphDef"):
        steelyard.weights(nnx.graphdef(nnx.Linear(2, 2, rngs=nnx.Rngs(0))))
    with pytest.raises(NotFittedError, match="without numbers"):
        steelyard.weights(nnx.eval_shape(lambda: nnx.Linear(2, 3, rngs=nnx.Rngs(0))))


class Net(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 3, (2, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(3, 3, rngs=rngs) for _ in range(11)])
        self.tied = self.layers[0]
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.gain = jnp.ones(2)
        self.seen = nnx.Intermediate(jnp.ones(1))
        self.spectral = nnx.WeightNorm(nnx.Linear(3, 2, rngs=rngs), rngs=rngs)

    def __call__(self, x):
        x = self.norm(self.conv(x)).mean((1, 2))
        for layer in self.layers:
            x = layer(x)
        return self.spectral(self.tied(self.drop(x))) * self.gain


@pytest.fixture(scope="module")
def trained():
    model = Net(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(0.01), wrt=nnx.Param)
    x = jax.random.normal(jax.random.key(1), (8, 4, 4, 2))

    @nnx.jit
    def step(model, optimizer):
        optimizer.update(model, nnx.grad(lambda model: ((model(x) - 1) ** 2).mean())(model))

    for _ in range(3):
        step(model, optimizer)
    return model, optimizer, x


def test_an_nnx_module_has_the_paths_and_values_of_its_state(trained):
    model, _, _ = trained
    w = steelyard.weights(model)
    state = nnx.to_flat_state(nnx.state(model, nnx.Not(nnx.Any(nnx.RngState, nnx.Intermediate))))
    assert list(w) == ["/".join(map(str, path)) for path, _ in state]
    for weight, (_, leaf) in zip(w.values(), state, strict=True):
        np.testing.assert_array_equal(weight.numpy(), leaf[...])
        assert weight.trainable is isinstance(leaf, nnx.Param)
    assert list(w).index("layers/2/kernel") < list(w).index("layers/10/kernel")
    assert not any("rngs" in name or "seen" in name or "tied" in name for name in w)
    params = w.select(trainable=True).to_vector()
    assert params.tobytes() == np.asarray(ravel_pytree(nnx.state(model, nnx.Param))[0]).tobytes()
    assert w["layers/0/kernel"].layer == "layers/0"


def test_a_module_is_written_in_place_and_has_equal_outputs(trained):
    model, _, x = trained
    other = Net(nnx.Rngs(9))
    variable, w = other.layers[0].kernel, steelyard.weights(other)
    vector = steelyard.weights(model).to_vector()
    assert w.assign(vector) is other
    vector[:] = np.nan
    assert other.layers[0].kernel is variable
    assert other.tied is other.layers[0]
    shown = nnx.view(model, deterministic=True, use_running_average=True)
    assert_close(nnx.view(other, deterministic=True, use_running_average=True)(x), shown(x))
    w.assign({"gain": [7.0, 8.0], "spectral/scales/('kernel',)": [1.0, 2.0]})
    assert other.gain.tolist() == [7, 8]
    variable.set_value(jnp.zeros((3, 3)))
    assert not w["layers/0/kernel"].numpy().any(), "a listed weight follows its variable"


def test_an_optimizer_continues_after_assign():
    model = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
    steelyard.weights(model).assign({"kernel": np.full((2, 2), 5.0)})
    optimizer.update(model, nnx.grad(lambda model: model(jnp.ones((1, 2))).sum())(model))
    np.testing.assert_allclose(model.kernel[...], 4.9, rtol=1e-6)
    held = steelyard.weights(optimizer)
    assert held["step"].role == "count"
    moments = steelyard.weights(nnx.Optimizer(model, optax.adam(0.1), wrt=nnx.Param))
    assert moments["opt_state/0/mu/kernel"].role == "other"  # it has the name of a kernel, and is none
    assert int(held["step"].numpy()) == 1


def test_assign_returns_a_new_state_and_leaves_the_module_unchanged(trained):
    model, _, _ = trained
    state = nnx.state(model)
    w = steelyard.weights(state)
    assert list(w) == list(steelyard.weights(model))
    new = w.assign({"layers/0/bias": [1.0, 2.0, 3.0]})
    assert isinstance(new, nnx.State)
    assert new["layers"][0]["bias"][...].tolist() == [1, 2, 3]
    assert model.layers[0].bias[...].tolist() != [1, 2, 3]
    assert jax.tree.structure(new) == jax.tree.structure(state)
    pure = steelyard.weights(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    assert list(pure) == list(w.select(trainable=True))


def test_a_variable_alone_and_one_that_holds_a_tree():
    variable = nnx.Param(jnp.ones(3))
    w = steelyard.weights(variable)
    assert (list(w), w[""].trainable) == ([""], True)
    assert w.assign({"": [1.0, 2.0, 3.0]}) is variable
    assert variable[...].tolist() == [1, 2, 3]

    class Holder(nnx.Module):
        def __init__(self):
            self.table = nnx.Param({"u": jnp.ones(2), "v": jnp.zeros(1)})

    holder = Holder()
    w = steelyard.weights(holder)
    assert list(w) == ["table/u", "table/v"]
    w.assign({"table/v": [4.0]})
    assert w.to_vector().tolist() == [1, 1, 4]


RNGS = nnx.Rngs(0)
PACKED = {
    "dense_h/bias": ("bias", "[ifgo]*out"),
    "dense_h/kernel": ("recurrent kernel", "in [ifgo]*out"),
    "dense_i/kernel": ("kernel", "in [ifgo]*out"),
}
FACTS = [
    (nnx.Conv(2, 3, (2,), rngs=RNGS), {"kernel": ("kernel", "k in out"), "bias": ("bias", "out")}),
    (nnx.Conv(2, 3, (2, 2, 2), rngs=RNGS), {"kernel": ("kernel", "kd kh kw in out"), "bias": ("bias", "out")}),
    (nnx.ConvTranspose(2, 3, (2, 2), rngs=RNGS), {"kernel": ("kernel", "-kh -kw in out"), "bias": ("bias", "out")}),
    (
        nnx.ConvTranspose(2, 3, (2, 2), transpose_kernel=True, rngs=RNGS),
        {"kernel": ("kernel", "kh kw out in"), "bias": ("bias", "out")},
    ),
    (nnx.Embed(4, 3, rngs=RNGS), {"embedding": ("embedding", "vocab out")}),
    (nnx.RMSNorm(3, rngs=RNGS), {"scale": ("scale", "channel")}),
    (nnx.BatchNorm(3, use_scale=False, use_bias=False, rngs=RNGS), {"mean": ("mean", "channel"), "var": ("variance", "channel")}),
    (nnx.LinearGeneral(3, (2, 4), rngs=RNGS), {"kernel": ("kernel", "in out1 out2"), "bias": ("bias", "out1 out2")}),
    (nnx.OptimizedLSTMCell(2, 3, rngs=RNGS), PACKED),
    (
        nnx.LSTMCell(2, 3, rngs=RNGS),
        {
            **{f"{part}/kernel": ("kernel", f"in [{part[1]}]*out") for part in ("if_", "ig", "ii", "io")},
            **{f"h{gate}/kernel": ("recurrent kernel", f"in [{gate}]*out") for gate in "fgio"},
            **{f"h{gate}/bias": ("bias", f"[{gate}]*out") for gate in "fgio"},
        },
    ),
    (nnx.RNN(nnx.OptimizedLSTMCell(2, 3, rngs=RNGS)), {f"cell/{name}": fact for name, fact in PACKED.items()}),
    (
        nnx.GRUCell(2, 3, rngs=RNGS),
        {
            "dense_h/kernel": ("recurrent kernel", "in [rzn]*out"),
            "dense_i/bias": ("bias", "[rzn]*out"),
            "dense_i/kernel": ("kernel", "in [rzn]*out"),
        },
    ),
    (
        nnx.WeightNorm(nnx.Linear(2, 3, rngs=RNGS), rngs=RNGS),
        {
            "layer_instance/bias": ("bias", "out"),
            "layer_instance/kernel": ("kernel", "in out"),
            "scales/('kernel',)": ("scale", "out"),
        },
    ),
    (
        nnx.LoRALinear(2, 3, lora_rank=1, rngs=RNGS),
        {
            "kernel": ("kernel", "in out"),
            "bias": ("bias", "out"),
            "lora/lora_a": ("other", "in rank"),
            "lora/lora_b": ("other", "rank out"),
        },
    ),
]


@pytest.mark.parametrize(("module", "expected"), FACTS, ids=range(len(FACTS)))
def test_roles_and_axes_by_class(module, expected):
    found = {name: (str(w.role), w.axes) for name, w in steelyard.weights(module).items()}
    assert found == expected


def test_attention_has_heads():
    w = steelyard.weights(nnx.MultiHeadAttention(2, 4, rngs=nnx.Rngs(0)))
    assert {name: weight.axes for name, weight in w.items() if name.endswith("kernel")} == {
        "query/kernel": "in heads dim",
        "key/kernel": "in heads dim",
        "value/kernel": "in heads dim",
        "out/kernel": "heads dim out",
    }


@pytest.mark.parametrize("transposed", [False, True])
def test_the_words_of_a_transposed_kernel_agree_with_torch_by_outputs(transposed):
    import torch

    layer = nnx.ConvTranspose(2, 3, (3, 2), (2, 2), padding="VALID", transpose_kernel=transposed, rngs=nnx.Rngs(0))
    kernel = steelyard.weights(layer)["kernel"]
    words = kernel.axes.split()
    turned = np.flip(kernel.numpy(), [place for place, word in enumerate(words) if word.startswith("-")])
    order = [[word.lstrip("-") for word in words].index(word) for word in ("in", "out", "kh", "kw")]
    x = np.random.default_rng(0).normal(size=(1, 5, 5, 2)).astype("float32")
    theirs = torch.nn.functional.conv_transpose2d(
        torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(turned.transpose(order).copy()), stride=2
    )
    np.testing.assert_allclose(layer(jnp.asarray(x)), theirs.permute(0, 2, 3, 1), atol=1e-5)


def test_arrays_that_do_not_fit_write_nothing(trained):
    model, _, _ = trained
    w = steelyard.weights(model)
    before = w.to_vector()
    with pytest.raises(ShapeError, match=r"\(3, 3\).*\(2, 2\)"):
        w.assign({"conv/bias": np.zeros(3), "layers/0/kernel": np.ones((2, 2))})
    np.testing.assert_array_equal(w.to_vector(), before)


class Held(nnx.Module):
    """Layers as attributes, in a list and in a dict."""

    def __init__(self, rngs):
        self.a = nnx.Linear(2, 3, rngs=rngs)
        self.l = nnx.List([nnx.Linear(3, 3, rngs=rngs)])
        self.d = nnx.Dict({"x": nnx.Linear(3, 3, rngs=rngs)})


@pytest.mark.parametrize(
    ("replace", "gone", "kept"),
    [
        (lambda net: setattr(net, "a", nnx.Linear(2, 3, rngs=nnx.Rngs(1))), "a/kernel", "l/0/kernel"),
        (lambda net: setattr(net.a, "bias", nnx.Param(jnp.ones(3))), "a/bias", "a/kernel"),
        (lambda net: net.l.__setitem__(0, nnx.Linear(3, 3, rngs=nnx.Rngs(1))), "l/0/bias", "d/x/bias"),
        (lambda net: net.d.__setitem__("x", nnx.Linear(3, 3, rngs=nnx.Rngs(1))), "d/x/kernel", "a/bias"),
    ],
    ids=["layer", "variable", "layer in a list", "layer in a dict"],
)
def test_a_variable_that_a_module_replaced_is_neither_read_nor_written(replace, gone, kept):
    net = Held(nnx.Rngs(0))
    w = steelyard.weights(net)
    vector = w.to_vector()
    replace(net)
    now = steelyard.weights(net).to_vector()
    for use in (w[gone].numpy, w.to_vector, lambda: w.assign(vector)):
        with pytest.raises(ShapeError, match=f"the model holds another {gone.rpartition('/')[0]}/"):
            use()
    assert np.array_equal(w[kept].numpy(), steelyard.weights(net)[kept].numpy())
    assert np.array_equal(steelyard.weights(net).to_vector(), now)

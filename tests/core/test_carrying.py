"""Derived weights carry all facts of the original: above all the graph, without which equal layers cannot be paired."""

import gc
from weakref import ref

import numpy as np
import pytest

import steelyard
from steelyard.errors import AmbiguityError, ReadOnlyError
from steelyard.io import into
from steelyard.transfers.transfer import plan_transfer, transfer

MADE = {
    "itself": lambda w: w,
    "copied": lambda w: w.copy(),
    "renamed": lambda w: w.rename("(.*)", r"net.\1"),
    "one layer renamed": lambda w: w.rename(r"1\.(.*)|dense_1/(.*)", r"other.\1\2"),
    "from a vector": lambda w: w.from_vector(w.to_vector()),
    "cast": lambda w: w.astype("float64"),
    "selected": lambda w: w.select("*"),
    "distinct": lambda w: w.distinct(),
    "written over itself": lambda w: into(w, w),
    "twice": lambda w: w.rename("(.*)", r"net.\1").copy().rename(r"net\.(.*)", r"\1"),
}


def torch_net(seed=0):
    import torch

    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4))


def keras_net(seed=0):
    import keras

    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(4) for _ in range(3))])


@pytest.fixture(scope="module", params=[torch_net, keras_net])
def nets(request):
    return request.param(0), request.param(1)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_weights_derived_from_a_live_models_weights_transfer_as_the_model_does(nets, make):
    net, twin = nets
    steelyard.weights(twin).assign(np.zeros(60, "f4"))
    transfer(make(steelyard.weights(net)), into=twin)
    assert np.array_equal(steelyard.weights(twin).to_vector(), steelyard.weights(net).to_vector())


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_weights_derived_from_a_files_weights_transfer_as_the_file_does(tmp_path_factory, make):
    net, twin = keras_net(0), torch_net(1)
    path = tmp_path_factory.mktemp("net") / "net.keras"
    net.save(path)
    transfer(make(steelyard.weights(path)), into=twin)
    moved = steelyard.weights(twin)
    for place, name in ((0, "0"), (1, "1"), (2, "3")):
        assert np.array_equal(moved[f"{name}.weight"].numpy(), net.layers[place].get_weights()[0].T)


def test_a_renamed_graph_has_the_same_layers():
    weights = steelyard.weights(torch_net())
    graph, renamed = weights.graph, weights.rename("(.*)", r"net.\1").graph
    assert [layer.name for layer in renamed.layers] == [f"net.{layer.name}" for layer in graph.layers]
    assert renamed.input_names == graph.input_names == ("input",)
    assert [layer.inputs for layer in renamed.layers] == [
        ("input",),
        *((f"net.{n}",) for (n,) in (layer.inputs for layer in graph.layers[1:])),
    ]
    assert [(x.kind, x.settings) for x in renamed.layers] == [(x.kind, x.settings) for x in graph.layers]
    assert (renamed.is_execution_order, renamed.is_sequential) == (True, True)
    one = weights.rename(r"1\.(.*)", r"other.\1").graph
    assert [layer.name for layer in one.layers] == ["0", "other", "2", "3"]
    assert one.layers[2].inputs == ("other",)


def test_layers_without_the_collections_of_flax_in_their_names_are_renamed_as_their_weights_are():
    import flax.linen as nn
    import jax

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.relu(nn.Dense(4)(x)))

    variables = Net().init(jax.random.key(0), np.zeros((1, 4), "f4"))
    weights = steelyard.weights(Net().bind(variables)).rename(r"params/Dense_0/(.*)", r"params/first/\1")
    assert list(weights.layers) == ["params/first", "params/Dense_1"]
    assert [layer.name for layer in weights.graph.layers] == ["first", "Dense_1"]


def test_a_copy_has_the_graph_of_its_model_without_keeping_it_or_its_numbers():
    net = torch_net()
    gone, numbers = ref(net), ref(net[0].weight)
    best = steelyard.weights(net).rename("(.*)", r"net.\1").copy()
    assert [layer.name for layer in best.graph.layers] == ["net.0", "net.1", "net.2", "net.3"]
    unasked = steelyard.weights(net).rename("(.*)", r"net.\1").copy()
    del net
    gc.collect()
    assert gone() is numbers() is None
    twin = torch_net(1)
    transfer(best, into=twin)
    assert np.array_equal(steelyard.weights(twin).to_vector(), best.to_vector())
    assert unasked.graph is None
    assert unasked.why_no_graph == "their model no longer exists, and `graph` was not read before"


def test_copies_and_vectors_do_not_list_the_layers_until_one_is_asked_and_then_once(monkeypatch):
    net, asked = torch_net(), []
    torch = steelyard.core.plugins.load("frameworks", "torch")
    listed = torch.graph
    monkeypatch.setattr(torch, "graph", lambda *given: asked.append(1) or listed(*given))
    weights = steelyard.weights(net)
    copies = [weights.copy(), weights.from_vector(weights.to_vector()), weights.select("0.*"), weights.rename("0(.*)", r"a\1")]
    assert not asked
    assert [len(each.graph.layers) for each in (*copies, weights)] == [4] * 5
    assert len(asked) == 1


def test_a_copy_of_an_immutable_model_has_the_graph_after_training_replaced_the_model():
    import equinox as eqx
    import jax

    keys = jax.random.split(jax.random.key(0), 3)
    net = eqx.nn.Sequential([eqx.nn.Linear(4, 4, key=key) for key in keys])
    gone, weights = ref(net), steelyard.weights(net)
    best = [weights.copy(), weights.rename("(.*)", r"net.\1").copy()]
    del net, weights
    gc.collect()
    assert gone() is None
    for each in best:
        twin = torch_net(1)
        transfer(each, into=twin)
        assert np.array_equal(steelyard.weights(twin).to_vector(), each.to_vector())


def test_a_model_without_layers_has_no_graph_and_can_still_be_copied():
    from sklearn.ensemble import VotingClassifier
    from sklearn.linear_model import LogisticRegression, Perceptron

    x, y = np.eye(6), np.arange(6) % 2
    weights = steelyard.weights(VotingClassifier([("a", LogisticRegression()), ("b", Perceptron())]).fit(x, y))
    assert weights.graph is None
    assert weights.copy().graph is None


def test_without_their_graph_the_same_weights_are_refused():
    net, twin = torch_net(0), torch_net(1)
    bare = steelyard.Weights(steelyard.weights(net).values())
    with pytest.raises(AmbiguityError):
        plan_transfer(bare.rename("(.*)", r"net\1"), into=twin)


def test_meta_live_and_remote_are_carried_and_cannot_be_set(tmp_path):
    steelyard.save({"a.w": np.zeros(3)}, tmp_path / "net.npz")
    weights = steelyard.weights(tmp_path / "net.npz").with_weights([], remote=True)
    for made in (weights.select("*"), weights.rename("a", "b"), weights.astype("float16"), weights.distinct()):
        assert made.remote
        assert made.meta == weights.meta
    assert not weights.live
    assert weights.copy().live
    with pytest.raises(AttributeError):
        weights.live = True
    with pytest.raises(AttributeError):
        weights.remote = False


def test_a_selection_and_other_names_reach_the_model_and_a_copy_does_not():
    net = torch_net()
    weights = steelyard.weights(net)
    weights.rename("(.*)", r"net.\1").select("net.0.*").assign({"net.0.bias": np.ones(4)})
    assert net[0].bias.tolist() == [1.0] * 4
    with pytest.raises(ReadOnlyError):
        weights.copy().assign({"0.bias": np.zeros(4)})

"""`Weights` can replace their model or file as either end of a transfer."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.errors import AmbiguityError, ProofError, ShapeError
from steelyard.transfers.transfer import plan_transfer, transfer

MADE = {
    "itself": lambda w: w,
    "copied": lambda w: w.copy(),
    "renamed": lambda w: w.rename(r"(.*?)(\w+)([./]\w+)", r"\1its_\2\3"),
    "from a vector": lambda w: w.from_vector(w.to_vector()),
    "as another type": lambda w: w.astype("float64"),
    "selected": lambda w: w.select("*"),
}


class Tagger(nn.Module):
    """Two bidirectional LSTMs, defined in another order than they run."""

    def __init__(self):
        super().__init__()
        self.second, self.first = (nn.LSTM(6, width, batch_first=True, bidirectional=True) for width in (2, 3))

    def forward(self, x):
        return self.second(self.first(x)[0])[0]


def squares(seed, activation=nn.Tanh):
    """Return three equal layers of PyTorch in a row."""
    torch.manual_seed(seed)
    return nn.Sequential(*(layer for _ in range(3) for layer in (nn.Linear(4, 4), activation()))).eval()


X = np.random.default_rng(1).standard_normal((5, 4)).astype("float32")


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_both_directions_of_an_lstm_in_a_keras_file_come_from_weights_as_from_the_file(make, tmp_path_factory):
    import keras

    def model(seed):
        keras.utils.set_random_seed(seed)
        given = keras.Input((5, 6))
        out = given
        for _ in range(2):
            out = keras.layers.Bidirectional(keras.layers.LSTM(3, return_sequences=True))(out)
        return keras.Model(given, out)

    net, twin = model(0), model(1)
    path = tmp_path_factory.mktemp("net") / "net.keras"
    net.save(path)
    transfer(make(steelyard.weights(path)), into=twin)
    x = np.random.default_rng(2).standard_normal((2, 5, 6)).astype("float32")
    assert np.array_equal(np.asarray(twin(x)), np.asarray(net(x)))


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_equal_layers_and_both_directions_come_from_weights_of_torch_as_from_the_model(make):
    torch.manual_seed(0)
    for net, twin in ((squares(0), squares(1)), (Tagger(), Tagger())):
        wanted = steelyard.weights(net).to_vector()
        pairs = transfer(net, into=twin).plan.pairs
        steelyard.weights(twin).assign(np.zeros_like(wanted))
        made = transfer(make(steelyard.weights(net)), into=twin)
        assert np.array_equal(steelyard.weights(twin).to_vector(), wanted)
        assert list(made.plan.pairs.values()) == list(pairs.values())


def flax_net(*widths):
    """Return dense layers of Flax in a row, whose order is known only when they run."""
    import jax
    from flax import linen

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            for width in widths:
                x = linen.tanh(linen.Dense(width)(x))
            return x

    return Net().bind(Net().init(jax.random.key(0), X))


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_layers_of_flax_come_from_weights_as_from_the_model(make):
    net, twin = flax_net(5, 3), nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh())
    transfer(make(steelyard.weights(net)), into=twin)
    assert np.abs(twin(torch.from_numpy(X)).detach().numpy() - np.asarray(net(X))).max() < 1e-6


@pytest.mark.parametrize("make", [MADE["itself"], MADE["renamed"], MADE["selected"]], ids=["itself", "renamed", "selected"])
def test_equal_layers_of_flax_come_from_live_weights_when_a_probe_runs_their_model(make):
    net, twin = flax_net(4, 4, 4), squares(1)
    assert transfer(make(steelyard.weights(net)), into=twin, probe=X).proof.proven
    assert np.abs(twin(torch.from_numpy(X)).detach().numpy() - np.asarray(net(X))).max() < 1e-6


@pytest.mark.parametrize("make", [MADE["itself"], MADE["renamed"], MADE["selected"]], ids=["itself", "renamed", "selected"])
def test_live_weights_are_proven_by_running_the_model_that_they_belong_to(make):
    net, twin = squares(0), squares(1)
    made = transfer(make(steelyard.weights(net)), into=steelyard.weights(twin), probe=X)
    assert made.proof.proven
    assert made.model is twin
    assert torch.equal(twin(torch.from_numpy(X)), net(torch.from_numpy(X)))


def test_live_weights_as_a_target_are_restored_when_the_outputs_differ():
    net, twin = squares(0), squares(1, nn.ReLU)
    before = steelyard.weights(twin).to_vector()
    with pytest.raises(ProofError, match="the outputs differ"):
        transfer(net, into=steelyard.weights(twin), probe=X)
    assert np.array_equal(steelyard.weights(twin).to_vector(), before)


def test_detached_weights_cannot_be_run_so_a_probe_proves_nothing():
    made = transfer(steelyard.weights(squares(0)).copy(), into=squares(1), probe=X)
    assert made.proof.why == "weights without a model cannot be run, so the outputs were not compared"


GONE = "the source has no graph: their model no longer exists, and `graph` was not read before"


def chain(*widths):
    torch.manual_seed(len(widths))
    return nn.Sequential(*(nn.Linear(*pair) for pair in itertools.pairwise(widths)))


def test_a_best_epoch_whose_model_is_gone_is_transferred_where_its_weights_alone_show_how():
    best, twin = steelyard.weights(chain(4, 5, 3)).copy(), chain(4, 5, 3)
    made = transfer(best, into=twin)
    assert np.array_equal(steelyard.weights(twin).to_vector(), best.to_vector())
    assert made.plan.notes == [GONE.replace("graph:", "graph, so its settings were not compared:")]


def test_a_plan_that_needs_the_graph_of_a_model_that_is_gone_names_it():
    best = steelyard.weights(chain(4, 4, 4)).copy()
    with pytest.raises(AmbiguityError, match=GONE):
        plan_transfer(best, into=nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)}))
    with pytest.raises(ShapeError, match=GONE):
        plan_transfer(best, into=chain(4, 5, 3))
    with pytest.raises(ShapeError, match=GONE):
        plan_transfer(best, into={"x": np.zeros((4, 4)), "y": np.zeros((4, 4))}, probe="random")
    with pytest.raises(AmbiguityError, match=GONE.removeprefix("the source has")):
        steelyard.build(best, "torch")


def test_a_plan_names_why_the_layers_of_a_live_model_cannot_be_listed():
    from sklearn.ensemble import VotingClassifier
    from sklearn.linear_model import LogisticRegression

    x, y = np.random.default_rng(0).standard_normal((9, 4)), np.arange(9) % 3
    voting = VotingClassifier([(name, LogisticRegression()) for name in ("a", "b")]).fit(x, y)
    assert steelyard.weights(voting).graph is None
    with pytest.raises(AmbiguityError, match="the source has no graph: a VotingClassifier is not one net that runs"):
        plan_transfer(voting, into=nn.ModuleDict({"c": nn.Linear(4, 3), "d": nn.Linear(4, 3)}))


def test_hidden_units_are_aligned_with_a_note_on_the_graph_of_a_model_that_is_gone():
    net = chain(4, 5, 3)
    found = steelyard.diff(net, steelyard.weights(chain(4, 5, 3)).copy(), align="permutation")
    assert any("there is no graph (their model no longer exists" in note for note in found.notes)

"""The steps of recurrent layers that a PyTorch net uses, known from one run."""

import numpy as np
import pytest
import torch
from outputs import assert_close
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from steelyard.frameworks import torch as graphs

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")


class Tagger(nn.Module):
    """A recurrent layer, and a function of its sequence and its last state."""

    def __init__(self, taken, kind=nn.LSTM, **options):
        super().__init__()
        torch.manual_seed(0)
        self.taken = taken
        self.rnn = kind(3, 4, **{"batch_first": True, **options})

    def forward(self, x):
        sequence, state = self.rnn(x)
        return self.taken(sequence, state[0] if isinstance(state, tuple) else state)


def returns(model, x=X):
    return next(layer for layer in graphs.graph(model, [x]).layers if layer.name == "rnn").settings.get("returns")


LAST = {
    "[:, -1]": (lambda sequence, state: sequence[:, -1], {}),
    "[:, -1, :]": (lambda sequence, state: sequence[:, -1, :], {}),
    "[..., 4, :]": (lambda sequence, state: sequence.contiguous()[..., 4, :], {}),
    "[:, -1:]": (lambda sequence, state: sequence[:, -1:], {}),
    "select": (lambda sequence, state: sequence.select(1, -1), {}),
    "state": (lambda sequence, state: state[-1], {"num_layers": 2}),
    "time first": (lambda sequence, state: sequence[-1], {"batch_first": False}),
    "both directions' states": (lambda sequence, state: torch.cat([state[0], state[1]], 1), {"bidirectional": True}),
}
ALL = {
    "sequence": (lambda sequence, state: sequence, {}),
    "mean": (lambda sequence, state: sequence.mean(1), {}),
    "first step": (lambda sequence, state: sequence[:, 0], {}),
    "last example": (lambda sequence, state: sequence[-1], {}),
    "two steps": (lambda sequence, state: sequence[:, -2:], {}),
    "also the sum": (lambda sequence, state: sequence[:, -1] + sequence.sum(1), {}),
    "also the state": (lambda sequence, state: sequence + state[-1][:, None], {}),
    "both directions at the end": (lambda sequence, state: sequence[:, -1], {"bidirectional": True}),
}


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("case", LAST)
def test_a_net_that_takes_the_last_step_alone(case, kind):
    taken, options = LAST[case]
    model = Tagger(taken, kind, **options)
    assert returns(model) == "last"
    sequence, _ = model.rnn(torch.from_numpy(X))
    last = sequence[-1] if not options.get("batch_first", True) else sequence[:, -1]
    if "bidirectional" not in options:
        assert_close(model(torch.from_numpy(X)).detach().numpy().reshape(last.shape), last.detach().numpy())


@pytest.mark.parametrize("case", ALL)
def test_a_net_that_takes_other_steps(case):
    taken, options = ALL[case]
    assert returns(Tagger(taken, **options)) == "all"


def test_a_packed_sequence_is_taken_whole_where_its_last_step_is_not_that_of_each_row():
    class Packed(Tagger):
        def forward(self, x):
            packed, state = self.rnn(pack_padded_sequence(x, [5, 2], batch_first=True))
            return self.taken(pad_packed_sequence(packed, batch_first=True)[0], state[0])

    assert returns(Packed(lambda sequence, state: sequence)) == "all"
    assert returns(Packed(lambda sequence, state: state[-1])) == "last"


def test_steps_are_unknown_without_a_run():
    model = Tagger(lambda sequence, state: sequence)
    assert "returns" not in graphs.graph(model, None).layers[0].settings


def test_a_run_has_the_outputs_of_functions_too():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b = nn.Linear(3, 3), nn.Linear(6, 2)

        def forward(self, x):
            h = torch.relu(self.a(x))
            h += x
            return self.b(torch.cat([h, x * 2], 1))

    model, x = Skip(), X[:, 0]
    run = graphs.run(model, [x])
    assert (
        list(run.layers) == [layer.name for layer in graphs.graph(model, [x]).layers] == ["a", "relu", "add", "mul", "cat", "b"]
    )
    with torch.no_grad():
        relu = torch.relu(model.a(torch.from_numpy(x)))
        expected = {"relu": relu, "add": relu + torch.from_numpy(x)}
        expected["cat"] = torch.cat([expected["add"], torch.from_numpy(x) * 2], 1)
    for name, tensor in expected.items():
        assert run.layers[name].dtype == np.float64
        assert_close(run.layers[name], tensor.numpy())

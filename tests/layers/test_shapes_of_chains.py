"""The shapes of a `Sequential` of PyTorch that was not run: those of a run, as far as they follow."""

import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.frameworks import torch as graphs

CHAINS = {
    "dense": (lambda: [nn.Linear(4, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 3), nn.Softmax(1)], (4,)),
    "relu first": (lambda: [nn.ReLU(), nn.Linear(4, 5), nn.LayerNorm(5)], (4,)),
    "norm first": (lambda: [nn.BatchNorm1d(4), nn.Linear(4, 5), nn.BatchNorm1d(5)], (4,)),
    "glu": (lambda: [nn.Linear(4, 6), nn.GLU(), nn.Linear(3, 2)], (4,)),
    "conv": (lambda: [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)], (3, 8, 8)),
    "any size": (lambda: [nn.Conv2d(3, 4, 3, 2), nn.PReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2)], (3, 9, 7)),
    "to one pixel": (lambda: [nn.Conv2d(3, 4, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2)], (3, 5, 5)),
    "transpose": (
        lambda: [nn.AdaptiveAvgPool2d((3, 4)), nn.ConvTranspose2d(2, 3, 3, 2, 1, 1), nn.Conv2d(3, 1, 3, padding="same")],
        (2, 6, 6),
    ),
    "sequence": (lambda: [nn.Embedding(9, 4), nn.Linear(4, 3)], (5,)),
    "windows": (
        lambda: [nn.AdaptiveAvgPool1d(20), nn.Conv1d(2, 3, 5, 2, 1, 2), nn.AvgPool1d(3, 2, 1), nn.MaxPool1d(2, ceil_mode=True)],
        (2, 30),
    ),
    "user's": (lambda: [nn.Linear(4, 5), Doubling(5, 5), nn.Linear(10, 2)], (4,)),
}


class Doubling(nn.Linear):
    """A layer whose class has the attributes of another, but not its output."""

    def forward(self, x):
        return torch.cat([x, x], 1)


def fits(known, shape):
    return known is None or (len(known) == len(shape) and all(a in (None, b) for a, b in zip(known, shape, strict=True)))


@pytest.mark.parametrize("name", CHAINS)
def test_inferred_shapes_are_those_of_a_run_and_the_same_in_a_file(name, tmp_path):
    make, shape = CHAINS[name]
    model = nn.Sequential(*make()).eval()
    x = np.zeros((2, *shape), "i8" if name == "sequence" else "f4")
    run, defined = graphs.graph(model, [x]).layers, graphs.graph(model, None).layers
    assert [layer.name for layer in run] == [layer.name for layer in defined]
    for ran, known in zip(run, defined, strict=True):
        assert fits(known.input_shape, ran.input_shape), ran.name
        assert fits(known.output_shape, ran.output_shape), ran.name
    torch.save(model, tmp_path / "net.pt")
    read = steelyard.weights(tmp_path / "net.pt").graph.layers
    assert [(each.input_shape, each.output_shape) for each in read] == [(e.input_shape, e.output_shape) for e in defined]


def shapes(*modules):
    layers = graphs.graph(nn.Sequential(*modules), None).layers
    return [layers[0].input_shape, *(layer.output_shape for layer in layers)]


def test_shapes_that_follow_are_known_and_the_others_are_not():
    assert shapes(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)) == [(4,), (5,), (5,), (3,)]
    assert shapes(nn.ReLU(), nn.Linear(4, 5)) == [(4,), (4,), (5,)]
    assert shapes(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(36, 2)) == [(3, None, None), (4, None, None), (36,), (2,)]
    assert shapes(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())[-1] == (4,)
    assert shapes(nn.Unflatten(1, (2, 2)), nn.ReLU()) == [None, None, None]
    assert shapes(nn.Embedding(9, 4), nn.Linear(4, 3)) == [None, None, None], "of one index or of a sequence"


def test_a_module_that_is_not_a_sequence_has_no_shapes_without_a_run():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 5)

        def forward(self, x):
            return self.a(x.flatten(1))

    (layer,) = graphs.graph(Net(), None).layers
    assert (layer.input_shape, layer.output_shape) == (None, None)

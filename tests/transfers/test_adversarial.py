"""Misleading nets: equal shapes in a row, shuffled names, transposed squares. Outputs are equal, or the transfer is refused."""

from itertools import pairwise

import keras
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import steelyard
from steelyard.errors import SteelyardError
from steelyard.transfers.transfer import transfer

WIDTHS = st.lists(st.sampled_from([3, 3, 3, 4]), min_size=3, max_size=7)
EXAMPLES = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TOLERANCE = 1e-5


def torch_net(widths, bias):
    torch.manual_seed(len(widths))
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b, bias=bias), nn.Tanh())]
    return nn.Sequential(*layers).eval()


def keras_net(widths, bias, names):
    given = keras.Input((widths[0],))
    out = given
    for width, name in zip(widths[1:], names, strict=True):
        out = keras.layers.Dense(width, activation="tanh", use_bias=bias, name=name)(out)
    return keras.Model(given, out)


class Tangled(nn.Module):
    """Layers that are defined in another order than they run, with unordered names."""

    def __init__(self, net, order):
        super().__init__()
        self.parts = nn.ModuleDict({f"part{nth}": net[2 * place] for nth, place in enumerate(order)})
        self.running = [f"part{list(order).index(place)}" for place in range(len(order))]

    def forward(self, x):
        for name in self.running:
            x = torch.tanh(self.parts[name](x))
        return x


def outputs(net, x):
    return net(torch.from_numpy(x)).detach().numpy()


def equal_or_refused(source, target, wanted, run, **options):
    """Transfer, and return whether it was not refused; fail if the outputs differ."""
    try:
        made = transfer(source, into=target, **options)
    except SteelyardError:
        return False
    found = run(made.model)
    assert np.abs(found - wanted).max() <= TOLERANCE * max(np.abs(wanted).max(), 1e-3), made
    return True


@EXAMPLES
@given(WIDTHS, st.booleans(), st.randoms(use_true_random=False))
def test_a_chain_of_equal_layers_is_paired_by_its_flow_whatever_the_names(widths, bias, random):
    names = [f"layer{nth}" for nth in range(len(widths) - 1)]
    random.shuffle(names)
    net, x = torch_net(widths, bias), np.random.default_rng(0).standard_normal((4, widths[0])).astype("float32")
    model = keras_net(widths, bias, names)
    assert equal_or_refused(net, model, outputs(net, x), lambda m: np.asarray(m(x)))


@EXAMPLES
@given(WIDTHS, st.booleans(), st.randoms(use_true_random=False), st.booleans())
def test_layers_that_are_defined_in_another_order_than_they_run(widths, bias, random, probed):
    net, x = torch_net(widths, bias), np.random.default_rng(0).standard_normal((4, widths[0])).astype("float32")
    order = list(range(len(widths) - 1))
    random.shuffle(order)
    tangled = Tangled(net, order).eval()
    model = keras_net(widths, bias, [f"dense{nth}" for nth in range(len(widths) - 1)])
    done = equal_or_refused(tangled, model, outputs(net, x), lambda m: np.asarray(m(x)), **({"probe": x} if probed else {}))
    assert done or not probed


@EXAMPLES
@given(WIDTHS, st.booleans(), st.randoms(use_true_random=False))
def test_a_state_dict_in_another_order_is_never_put_in_the_wrong_place(widths, bias, random):
    """Only weights in random order with uninformative names: an uncertain pairing is refused."""
    net, x = torch_net(widths, bias), np.random.default_rng(0).standard_normal((4, widths[0])).astype("float32")
    letters = random.sample("abcdefghij", len(widths) - 1)
    state = {f"{letter}.{key}": value.numpy() for letter, layer in zip(letters, net[::2], strict=True)
             for key, value in layer.state_dict().items()}  # fmt: skip
    shuffled = dict(random.sample(list(state.items()), len(state)))
    model = keras_net(widths, bias, [f"dense{nth}" for nth in range(len(widths) - 1)])
    equal_or_refused(shuffled, model, outputs(net, x), lambda m: np.asarray(m(x)))


@EXAMPLES
@given(st.integers(2, 5), st.integers(1, 3), st.randoms(use_true_random=False))
def test_square_kernels_are_never_left_untransposed(width, depth, random):
    net = torch_net([width] * (depth + 1), bias=False)
    flax = {f"Dense_{nth}": {"kernel": np.zeros((width, width), "float32")} for nth in range(depth)}
    x = np.random.default_rng(0).standard_normal((4, width)).astype("float32")

    def run(tree):
        out = x
        for nth in range(depth):
            out = np.tanh(out @ tree[f"Dense_{nth}"]["kernel"])
        return out

    equal_or_refused(
        {f"{n}.weight": layer.weight.detach().numpy() for n, layer in enumerate(net[::2])}, flax, outputs(net, x), run
    )


@pytest.mark.parametrize("seed", range(6))
def test_branches_of_one_shape_that_the_flow_does_not_distinguish_are_refused_or_right(seed):
    """f(x) - g(x) runs the same layers as g(x) - f(x)."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.g = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            first, second = (self.g(x), self.f(x)) if seed % 2 else (self.f(x), self.g(x))
            return second - first if seed % 2 else first - second

    torch.manual_seed(seed)
    net, x = Branches().eval(), np.random.default_rng(seed).standard_normal((5, 4)).astype("float32")
    given = keras.Input((4,))
    one, other = keras.layers.Dense(4, name="one"), keras.layers.Dense(4, name="other")
    model = keras.Model(given, keras.layers.Subtract()([one(given), other(given)]))
    assert not equal_or_refused(net, model, outputs(net, x), lambda m: np.asarray(m(x)))
    assert equal_or_refused(net, model, outputs(net, x), lambda m: np.asarray(m(x)), probe=x)


def test_a_refusal_leaves_the_target_as_it_was():
    net = torch_net([3, 3, 3], bias=True)
    model = keras_net([3, 3, 4], True, ["a", "b"])
    before = steelyard.weights(model).to_vector()
    with pytest.raises(SteelyardError, match="no partner"):
        transfer(net, into=model)
    assert np.array_equal(steelyard.weights(model).to_vector(), before)

"""Any part of a layer may be missing, as one that cannot be read and is left out; what is left is interpreted, or unassigned."""

from itertools import combinations

import numpy as np
import pytest

import steelyard
from steelyard.transfers.layers.interpretations import interpreted

LAYERS = {
    "torch": {"weight": (4, 3), "bias": (4,)},
    "weight norm": {"parametrizations.weight.original0": (4, 1), "parametrizations.weight.original1": (4, 3), "bias": (4,)},
    "spectral norm": {"parametrizations.weight.original": (4, 3), "parametrizations.weight.0._u": (4,), "bias": (4,)},
    "old norms": {"weight_orig": (4, 3), "weight_u": (4,), "weight_v": (3,), "weight_g": (4, 1), "bias": (4,)},
    "keras": {"kernel": (3, 4), "recurrent_kernel": (4, 4), "bias": (4,)},
    "tensorflow": {"weights": (3, 4), "biases": (4,)},
    "norm": {"mean": (4,), "var": (4,), "scale": (4,), "bias": (4,), "gamma": (4,), "beta": (4,)},
    "torch rnn": {"weight_ih_l0": (20, 3), "weight_hh_l0": (20, 5), "bias_ih_l0": (20,), "bias_hh_l0": (20,)},
    "plain rnn": {"weight_ih": (20, 3), "weight_hh": (20, 5), "bias": (20,), "bias_n": (5,)},
    "packed cell": {"dense_i/kernel": (3, 20), "dense_h/kernel": (5, 20), "dense_h/bias": (20,), "dense_i/bias": (20,)},
    "cell": {"ii/kernel": (3, 5), "hi/kernel": (5, 5), "hi/bias": (5,), "if/kernel": (3, 5), "hf/kernel": (5, 5)},
    "attention": {"query/kernel": (4, 2, 2), "key/kernel": (4, 2, 2), "out/kernel": (2, 2, 4), "query/bias": (2, 2)},
    "torch attention": {"in_proj_weight": (12, 4), "in_proj_bias": (12,), "out_proj.weight": (4, 4), "out_proj.bias": (4,)},
    "separable": {"depthwise_kernel": (3, 3, 2, 1), "pointwise_kernel": (1, 1, 2, 4), "bias": (4,)},
    "sklearn": {"coefs_": (3, 4), "intercepts_": (4,), "coef_": (4, 3), "intercept_": (4,)},
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("rank", [None, 0, 1, 2, 3, 4, 6])
def test_parts_of_a_layer_of_any_rank_are_interpreted_or_left(kind, rank):
    leaves = LAYERS[kind]
    for count in range(1, len(leaves) + 1):
        for some in combinations(leaves, count):
            shapes = {leaf: leaves[leaf] if rank is None else (2,) * rank for leaf in some}
            net = steelyard.weights({f"layer.{leaf}": np.zeros(shape, "f4") for leaf, shape in shapes.items()})
            unassigned = []
            layers = interpreted(net.values(), unassigned)
            assert layers or unassigned

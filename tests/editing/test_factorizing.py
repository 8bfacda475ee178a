"""Dense layers as two thin ones, compared with NumPy's decomposition and run by PyTorch."""

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import steelyard
from steelyard.errors import LossyError, ShapeError


def matrix(rows=24, columns=32, rank=24, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))).astype("float32")


def test_the_product_is_the_nearest_of_its_rank():
    thin = steelyard.factorize({"fc.weight": matrix(), "fc.bias": np.zeros(24, "float32")}, rank=5)
    assert {name: weight.shape for name, weight in thin.items()} == {
        "fc.0.weight": (5, 32),
        "fc.1.weight": (24, 5),
        "fc.1.bias": (24,),
    }
    left, values, right = np.linalg.svd(matrix().astype("f8"), full_matrices=False)
    product = thin["fc.1.weight"].numpy() @ thin["fc.0.weight"].numpy()
    assert np.abs(product - (left[:, :5] * values[:5]) @ right[:5]).max() <= 1e-6 * np.abs(product).max()
    assert thin.meta["factorized"]["weights"] == [
        {"name": "fc.weight", "shape": [24, 32], "rank": 5, "energy": None, "before": 768, "after": 280}
    ]


def test_torch_runs_the_two_layers_in_place_of_one():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 4))
    with torch.no_grad():
        net[0].weight.copy_(torch.from_numpy(matrix(rank=3)))
    thin = steelyard.factorize(net, rank=3, skip="2.*")
    two = nn.Sequential(nn.Sequential(nn.Linear(32, 3, bias=False), nn.Linear(3, 24)), nn.ReLU(), nn.Linear(24, 4))
    steelyard.weights(two).assign(thin)
    x = torch.randn(7, 32)
    torch.testing.assert_close(two(x), net(x), rtol=1e-4, atol=1e-4)


def test_the_layer_that_takes_the_inputs_comes_first_in_every_order_of_axes():
    plain = steelyard.Weights.from_arrays({"fc/kernel": matrix().T, "fc/bias": np.zeros(24, "f4")}, axes={"fc/kernel": "in out"})
    thin = steelyard.factorize(plain, rank=4)
    assert {name: weight.shape for name, weight in thin.items()} == {
        "fc/0/kernel": (32, 4),
        "fc/1/kernel": (4, 24),
        "fc/1/bias": (24,),
    }


@settings(max_examples=20, deadline=None)
@given(energy=st.floats(0.05, 1), seed=st.integers(0, 9))
def test_the_rank_of_an_energy_is_the_smallest_that_keeps_it(energy, seed):
    values = np.linalg.svd(matrix(rank=4, seed=seed).astype("f8"), compute_uv=False) ** 2
    thin = steelyard.factorize({"fc.weight": matrix(rank=4, seed=seed)}, energy=energy)
    (row,) = thin.meta["factorized"]["weights"]
    kept = np.cumsum(values) / values.sum()
    assert kept[row["rank"] - 1] >= energy - 1e-9
    assert row["rank"] == 1 or kept[row["rank"] - 2] < energy
    np.testing.assert_allclose(row["energy"], kept[row["rank"] - 1], rtol=1e-9)


def test_what_would_not_become_smaller_stays_and_is_refused_where_nothing_would():
    plain = {"fc.weight": matrix(), "fc.bias": np.zeros(24, "f4"), "out.weight": matrix(4, 24), "out.bias": np.zeros(4, "f4")}
    thin = steelyard.factorize(plain, rank=6)
    assert thin.meta["factorized"]["left"] == {"out.weight": "rank 4 takes 112 numbers, and the matrix 96; it saves up to rank 3"}
    assert "out.weight" in thin
    with pytest.raises(
        ShapeError, match=r"no weight would become smaller: fc.weight: rank 14 takes 784 numbers, and the matrix 768"
    ):
        steelyard.factorize(plain, rank=14)


def test_types_are_kept_and_nan_is_refused():
    thin = steelyard.factorize({"fc.weight": matrix().astype(ml_dtypes.bfloat16)}, rank=2)
    assert {weight.dtype for weight in thin.values()} == {"bfloat16"}
    bad = matrix()
    bad[0, 0] = np.nan
    with pytest.raises(LossyError, match=r"fc.weight holds NaN or Inf"):
        steelyard.factorize({"fc.weight": bad}, energy=0.9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "pass either rank="),
        ({"rank": 2, "energy": 0.5}, "pass either rank="),
        ({"rank": 0}, "rank is '0'; it must be a positive integer"),
        ({"energy": 1.5}, "energy is '1.5'; it must be above 0 and at most 1"),
        ({"rank": 2, "cut": -1}, "cut is '-1'; it must be a number of at least 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ShapeError, match=message):
        steelyard.factorize({"fc.weight": matrix()}, **options)

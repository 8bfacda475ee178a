"""Spectra: the results equal those of NumPy and of WeightWatcher, and verdicts are relative to random weights."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from torch import nn

import steelyard
from steelyard import sizes
from steelyard.cli import main
from steelyard.errors import ShapeError
from steelyard.numerics.matrices import chance_range

HERE = Path(__file__).parent
FIXTURE = json.loads((HERE / "weightwatcher.json").read_text())


def matrices():
    """The matrices of the script that ran WeightWatcher."""
    spec = importlib.util.spec_from_file_location("make_weightwatcher", HERE / "make_weightwatcher.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.matrices()


@pytest.fixture(scope="module")
def found():
    return steelyard.spectra(matrices(), null_draws=0)


@pytest.mark.parametrize("name", list(FIXTURE["matrices"]))
def test_every_statistic_equals_that_of_weightwatcher(found, name):
    row, wanted = found[name], FIXTURE["matrices"][name]
    assert row.spectral_norm == pytest.approx(wanted["sv_max"], rel=1e-6)
    assert row.spectral_norm**2 == pytest.approx(wanted["spectral_norm"], rel=1e-6)
    assert row.frobenius**2 == pytest.approx(wanted["norm"], rel=1e-6)
    assert row.stable_rank == pytest.approx(wanted["stable_rank"], rel=1e-6)
    assert row.values[-1] == pytest.approx(wanted["sv_min"], rel=1e-6, abs=1e-6 * wanted["sv_max"])
    assert row.rank == wanted["matrix_rank"]
    assert row.law.alpha == pytest.approx(wanted["alpha"], rel=1e-6)
    assert row.law.distance == pytest.approx(wanted["D"], rel=1e-6)
    assert row.law.sigma == pytest.approx(wanted["sigma"], rel=1e-6)
    assert row.law.xmin == pytest.approx(wanted["xmin"], rel=1e-6)
    assert row.law.tail == wanted["num_pl_spikes"]
    squares = np.array(row.values) ** 2 / row.frobenius**2 + 1e-10  # as WeightWatcher does
    assert -(squares * np.log(squares)).sum() / np.log(row.rank) == pytest.approx(wanted["entropy"], rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(nps.arrays(np.float32, st.tuples(st.integers(2, 9), st.integers(2, 9)), elements=st.floats(-(2**20), 2**20, width=32)))
def test_singular_values_equal_numpys(matrix):
    row = steelyard.spectra({"w": matrix}, null_draws=1)["w"]
    wanted = np.linalg.svd(matrix.astype("f8"), compute_uv=False)
    np.testing.assert_allclose(row.values, wanted, atol=1e-10 * max(wanted[0], 1e-300), rtol=1e-10)
    assert row.frobenius == pytest.approx(np.linalg.norm(matrix.astype("f8")), rel=1e-9)
    parts = wanted[wanted > 0] / wanted.sum() if wanted.any() else np.zeros(0)
    assert row.effective_rank == pytest.approx(np.exp(-(parts * np.log(parts)).sum()) if parts.size else 0, rel=1e-6)
    json.dumps(row.to_dict(), allow_nan=False)


@pytest.mark.parametrize("shape", [(300, 200), (200, 300)])
@pytest.mark.parametrize("kind", ["f4", "c16"])
def test_large_matrices_give_the_largest_values_within_the_stated_error(shape, kind):
    chance = np.random.default_rng(0)
    matrix = chance.standard_normal(shape) @ np.diag(1.0 / np.arange(1, shape[1] + 1))
    matrix = (matrix + 1j * chance.standard_normal(shape) / 50 if kind == "c16" else matrix).astype(kind)
    row = steelyard.spectra({"w": matrix}, max_exact_size=50, top_k=20, null_draws=1)["w"]
    wanted = np.linalg.svd(matrix, compute_uv=False)
    assert len(row.values) == 20
    assert np.abs(np.array(row.values) - wanted[:20]).max() <= row.error + 1e-5
    assert row.error < 0.02 * wanted[0]
    assert row.values[0] == pytest.approx(wanted[0], rel=1e-6)
    assert row.stable_rank == pytest.approx((wanted**2).sum() / wanted[0] ** 2, rel=1e-4)
    assert (row.rank, row.effective_rank, row.law) == (None, None, None), "they need all values"


@pytest.mark.parametrize("shape", [(60, 30000), (30000, 60)])
def test_long_matrices_are_summed_rather_than_kept_in_memory(monkeypatch, shape):
    monkeypatch.setattr(sizes, "WHOLE_MATRIX", 1000)
    matrix = np.random.default_rng(0).standard_normal(shape)
    row = steelyard.spectra({"w": matrix}, null_draws=0)["w"]
    assert row.method == "exact, by products"
    np.testing.assert_allclose(row.values, np.linalg.svd(matrix, compute_uv=False), rtol=1e-9)


def test_convolutions_are_unfolded_alike_in_torch_and_keras():
    import keras

    torch.manual_seed(0)
    conv = nn.Conv2d(5, 7, 3)
    twin = keras.Sequential([keras.Input((8, 8, 5)), keras.layers.Conv2D(7, 3)])
    twin.set_weights([conv.weight.detach().numpy().transpose(2, 3, 1, 0), conv.bias.detach().numpy()])
    one, other = (steelyard.spectra(net, null_draws=0).rows[0] for net in (conv, twin))
    assert sorted(one.shape) == sorted(other.shape) == [7, 45]
    np.testing.assert_allclose(one.values, other.values, rtol=1e-6)
    np.testing.assert_allclose(
        one.values, np.linalg.svd(conv.weight.detach().numpy().reshape(7, 45).astype("f8"), compute_uv=False), rtol=1e-6
    )


def test_vectors_biases_and_statistics_have_no_spectrum():
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Embedding(5, 6))
    assert [row.name for row in steelyard.spectra(net).rows] == ["0.weight", "2.weight"]


def test_random_weights_get_no_verdict():
    chance = np.random.default_rng(0)
    for nth in range(50):
        shape = [(64, 64), (20, 100), (100, 30)][nth % 3]
        matrix = chance.standard_normal(shape) if nth % 2 else chance.standard_t(3, shape)
        assert steelyard.spectra({"w": matrix})["w"].verdict == ""


def test_untrained_layers_get_no_verdict_and_trained_ones_do():
    from sklearn.datasets import load_digits

    x, y = map(torch.from_numpy, load_digits(return_X_y=True))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    assert steelyard.spectra(net)["0.weight"].verdict == ""
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net((x / 16).float()), y).backward()
        optimizer.step()
    row = steelyard.spectra(net)["0.weight"]
    assert "beyond chance" in row.verdict
    assert row.null.draws == 19
    assert row.spectral_norm > row.null.spectral_norm


def test_the_theoretical_range_is_exceeded_about_once_in_a_thousand_times_on_either_side():
    chance, shape = np.random.default_rng(0), (40, 60)
    under = over = 0
    for _ in range(3000):
        matrix = chance.standard_normal(shape)
        low, high = chance_range(shape, np.linalg.norm(matrix))
        largest = np.linalg.svd(matrix, compute_uv=False)[0]
        under, over = under + (largest < low), over + (largest > high)
    assert over <= 9
    assert under <= 9


def test_a_weight_that_is_not_finite_is_skipped_with_a_note():
    found = steelyard.spectra({"w": np.array([[1.0, np.nan], [1, 2]]), "v": np.eye(2), "z": np.zeros((3, 3))})
    assert [row.name for row in found.rows] == ["v", "z"]
    assert "w is not finite" in found.notes[0]
    assert repr(found)
    with pytest.raises(ShapeError):
        steelyard.spectra({}, max_exact_size=0)


def test_a_file_has_the_spectra_of_its_model_and_the_command_prints_them(tmp_path, capsys):
    net = nn.Linear(30, 30)
    torch.save({"w": net.weight, "b": net.bias}, tmp_path / "short.pt")
    torch.save(net.state_dict(), tmp_path / "a.pt")
    assert steelyard.spectra(net).to_dict() == steelyard.spectra(tmp_path / "a.pt").to_dict()
    assert main(["spectra", str(tmp_path / "short.pt")]) == 0
    assert capsys.readouterr().out.split("\n")[0].split()[:3] == ["weight", "matrix", "norm"]  # whole over a short name
    assert main(["spectra", str(tmp_path / "a.pt"), "--json", "--null-draws", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"][0]["shape"] == [30, 30]


def test_the_effective_rank_does_not_depend_on_the_scale_of_the_numbers():
    kernel = np.diag([4.0, 4, 4, 4, 4, 4, 2, 1])
    ranks = [steelyard.spectra({"w.weight": kernel * size})["w.weight"].effective_rank for size in (1.0, 1e307, 1e-300)]
    shares = np.diag(kernel) / kernel.sum()
    assert ranks == [pytest.approx(np.exp(-(shares * np.log(shares)).sum()))] * 3


def test_a_singular_value_beyond_the_largest_double_has_no_effective_rank():
    row = steelyard.spectra({"w.weight": np.full((4, 4), 1.7e308)})["w.weight"]
    assert (row.spectral_norm, row.effective_rank) == (np.inf, None)


@pytest.mark.parametrize(("shape", "dtype"), [((4, 2), "f4"), ((3, 5), "c8"), ((31, 33), "f2"), ((8, 2, 3), "f8")])
def test_a_small_matrix_has_the_same_bits_decomposed_together_with_its_random_ones_and_one_by_one(shape, dtype, monkeypatch):
    numbers = np.random.default_rng(0).normal(size=shape).astype(dtype)
    together = steelyard.spectra({"w": numbers})["w"]
    monkeypatch.setattr("steelyard.measures.spectra.TOGETHER", 0)
    one_by_one = steelyard.spectra({"w": numbers})["w"]
    assert together.to_dict() == one_by_one.to_dict()
    assert together.null.values == one_by_one.null.values

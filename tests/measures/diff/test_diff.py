"""Differences: every statistic equals NumPy's in float64, weights are paired whatever their names, verdicts need evidence."""

import json
import pickle
import subprocess
import sys
from itertools import pairwise

import ml_dtypes
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
from steelyard.core.readers import from_array
from steelyard.errors import ShapeError
from steelyard.measures.diff.entries import Sums, Tolerance, compare, side_by_side

FLOATS = ["float16", "float32", "float64", "bfloat16", "float8_e4m3fn"]
INTS = ["int8", "uint8", "int32", "int64", "uint64", "bool"]


def mlp(seed, widths=(64, 48, 32, 10)):
    torch.manual_seed(seed)
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def trained(seed, digits, steps=20):
    """A net that was trained for a few steps."""
    x, y = map(torch.from_numpy, digits)
    net = mlp(seed)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net


def arrays_of(net):
    return {name: value.detach().numpy().copy() for name, value in net.state_dict().items()}


def numpy_dtype(word):
    return np.dtype(getattr(ml_dtypes, word, word))


def expected(x, y):
    """All statistics, computed by plain NumPy in the widest type."""
    x, y = x.astype(np.longdouble).reshape(-1), y.astype(np.longdouble).reshape(-1)
    with np.errstate(all="ignore"):
        d = np.abs(y - x)
        good = np.isfinite(d) & (d <= np.finfo(np.float64).max)
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        lengths = [np.sqrt(((v := np.where(good, w, 0)) * v).sum()) for w in (x, y, d)]
        too_long = ~np.isfinite(np.array(lengths).astype(np.float64))
        one, other, apart = np.where(too_long, 0, lengths)
        cosine = (
            (np.where(good, x, 0) * np.where(good, y, 0)).sum() / (one * other) if one and other and not too_long[2] else None
        )
    d = np.where(good, d, 0)
    return {
        "max": float(d.max(initial=0)),
        "mean": float(d.mean()) if d.size else 0.0,
        "relative": None if too_long.any() else float(apart / one) if one else None if apart else 0.0,
        "cosine": None if cosine is None else float(cosine),
        "nonfinite": int((~good & ~same).sum()),
    }


def close(found, wanted, tolerance=3e-7):
    if wanted is None or found is None:
        return found is wanted
    return found == pytest.approx(wanted, rel=tolerance, abs=1e-300)


@st.composite
def couples(draw):
    word = draw(st.sampled_from(FLOATS))
    dtype = numpy_dtype(word)
    shape = draw(nps.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6))
    wide = st.floats(width=64 if word == "float64" else 32)
    near = st.sampled_from([0.0, -0.0, 1.0, 1e9, 1e-9, 5e-324, float("nan"), float("inf"), float("-inf")])
    with np.errstate(all="ignore"):
        x, y = (draw(nps.arrays(np.float64, shape, elements=wide | near)).astype(dtype) for _ in range(2))
    mask = draw(nps.arrays(np.bool_, shape))
    return np.asarray(x), np.where(mask, x, y).astype(dtype)


@settings(max_examples=300, deadline=None)
@given(couples())
def test_every_statistic_equals_numpys_for_any_numbers(couple):
    x, y = couple
    row = steelyard.diff({"w": x}, {"w": y}, verdicts=False).rows[0]
    same_bits = x.tobytes() == y.tobytes()
    assert (row.kind == "equal") == same_bits
    if same_bits:
        return
    raw = [np.ascontiguousarray(v).reshape(-1).view(f"u{v.dtype.itemsize}") for v in (x, y)]
    assert row.changed == (raw[0] != raw[1]).sum()
    wanted = expected(x, y)
    assert row.nonfinite == wanted["nonfinite"]
    assert close(row.max_abs, wanted["max"])
    if np.isfinite(wanted["mean"] * x.size):
        assert close(row.mean_abs, wanted["mean"], 1e-6)
    if wanted["relative"] is None or (1e-290 < wanted["relative"] < 1e290):
        assert close(row.relative, wanted["relative"], 1e-6)
    assert (row.cosine is None) == (wanted["cosine"] is None)
    if row.cosine is not None:
        assert -1 <= row.cosine <= 1
        assert row.cosine == pytest.approx(wanted["cosine"], abs=1e-6)
    json.dumps(row.to_dict(), allow_nan=False)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_differences_of_integers_equal_pythons(data):
    dtype = np.dtype(data.draw(st.sampled_from(INTS)))
    shape = data.draw(nps.array_shapes(max_dims=2, max_side=5))
    x, y = (data.draw(nps.arrays(dtype, shape)) for _ in range(2))
    row = steelyard.diff({"w": x}, {"w": y}).rows[0]
    apart = [abs(int(b) - int(a)) for a, b in zip(x.reshape(-1), y.reshape(-1), strict=True)]
    assert row.max_abs == float(max(apart))
    assert row.changed == sum(map(bool, apart))


@pytest.mark.parametrize("word", ["complex64", "complex128"])
def test_the_difference_of_complex_numbers_is_their_distance(word):
    chance = np.random.default_rng(0)
    x, y = ((chance.standard_normal(50) + 1j * chance.standard_normal(50)).astype(word) for _ in range(2))
    row = steelyard.diff({"w": x}, {"w": y}).rows[0]
    assert row.max_abs == pytest.approx(np.abs(x - y).max(), rel=1e-6)
    assert row.cosine == pytest.approx(np.vdot(x, y).real / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-6)


@pytest.mark.parametrize("one", ["complex64", "float32"])
def test_complex_numbers_of_one_magnitude_differ_in_other_dtypes_too(one):
    x, y = np.array([1, 2, 3, np.nan], one), np.array([1j, 2, -3, np.nan], "c16")
    row = steelyard.diff({"w": x}, {"w": y}).rows[0]
    assert (row.changed, row.max_abs, row.place) == (2, 6.0, (2,))


def test_signed_and_unsigned_integers_are_compared_to_the_last_digit():
    x = np.array([2**53 + 1, 2**63 - 1, 5, 7], "i8")
    row = steelyard.diff({"w": x}, {"w": np.array([2**53, 2**63, 5, 7], "u8")}).rows[0]
    assert (row.changed, row.max_abs) == (2, 1.0)
    far = steelyard.diff({"w": np.array([-(2**63)])}, {"w": np.array([2**64 - 1], "u8")}).rows[0]
    assert far.max_abs == float(2**64 - 1 + 2**63)


@pytest.mark.parametrize("one", ["float32", "float64", "bfloat16", "int8"])
@pytest.mark.parametrize("other", ["float32", "float16", "float64"])
def test_a_different_dtype_is_reported_and_numbers_are_still_compared(one, other):
    x = np.arange(-50, 50).astype(numpy_dtype(one)).reshape(4, 25)
    y = x.astype(other)
    y[1, 3] += 1
    row = steelyard.diff({"w": x}, {"w": y}).rows[0]
    assert (row.changed, row.max_abs, row.place) == (1, 1.0, (1, 3))
    assert row.dtypes == (one, other)


def test_the_tolerance_is_relative_to_the_first_side_and_counts_entries():
    x = np.array([0.0, 1.0, 100.0, np.nan], "f4")
    y = np.array([0.5, 1.5, 110.0, 1.0], "f4")
    assert [
        steelyard.diff({"w": x}, {"w": y}, atol=a, rtol=r).rows[0].over_tolerance for a, r in ((0, 0), (0.5, 0), (0.4, 0.1))
    ] == [
        4,
        2,
        2,
    ]
    assert steelyard.diff({"w": x[:3]}, {"w": y[:3]}, atol=0.5, rtol=0.1).same
    assert not steelyard.diff({"w": x}, {"w": y}, atol=1e9, rtol=1e9).same, "NaN against a number is beyond every tolerance"
    with pytest.raises(ShapeError):
        steelyard.diff({"w": x}, {"w": y}, atol=-1)


def test_without_a_tolerance_every_bit_counts():
    zero = {"w": np.array([0.0, 1.0])}
    assert steelyard.diff(zero, zero).same
    signed = steelyard.diff(zero, {"w": np.array([-0.0, 1.0])})
    assert not signed.same
    assert signed.rows[0].max_abs == 0
    assert steelyard.diff(zero, {"w": np.array([-0.0, 1.0])}, atol=1e-9).same


def big_pair(tmp_path, size=(1 << 22) + 77, dtype="f4"):
    chance = np.random.default_rng(0)
    x = chance.standard_normal(size).astype(dtype)
    y = x.copy()
    y[size // 2 :] += chance.standard_normal(size - size // 2).astype(dtype) * dtype_scale(dtype)
    paths = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for path, array in zip(paths, (x, y), strict=True):
        steelyard.save({"w": array, "same": x[:1000]}, path)
    return x, y, paths


def dtype_scale(dtype):
    return np.dtype(dtype).type(1e-3)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
def test_files_of_many_blocks_have_the_statistics_of_numpy(tmp_path, dtype):
    x, y, paths = big_pair(tmp_path, dtype=dtype)
    row = steelyard.diff(*paths).rows[0]
    wanted = expected(x, y)
    assert row.changed == (x != y).sum()
    assert row.max_abs == pytest.approx(wanted["max"], rel=1e-7)
    assert np.abs(y.astype("f8") - x)[row.place] == pytest.approx(wanted["max"], rel=1e-7)
    assert row.mean_abs == pytest.approx(wanted["mean"], rel=1e-6)
    assert row.relative == pytest.approx(wanted["relative"], rel=1e-6)
    assert 1 - row.cosine == pytest.approx(1 - wanted["cosine"], rel=1e-4), "a cosine near one keeps its digits"


def test_threads_do_not_change_the_result(tmp_path, monkeypatch):
    paths = big_pair(tmp_path)[2]
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(sizes, "THREADS", threads)
        found.append(steelyard.diff(*paths).to_dict())
    assert found[0] == found[1] == found[2]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 999), max_size=5), st.integers(0, 2**32 - 1))
def test_any_split_of_the_entries_merges_into_the_whole(cuts, seed):
    chance = np.random.default_rng(seed)
    x = chance.standard_normal(1000).astype("f4")
    y = np.where(chance.random(1000) < 0.3, x, x + chance.standard_normal(1000).astype("f4")).astype("f4")
    one, other = from_array("w", x), from_array("w", y)
    merged = Sums()
    ends = [0, *sorted(set(cuts) - {0}), 1000]
    for start, stop in pairwise(ends):
        merged.merge(compare(one, other, start, stop, Tolerance()))
    whole = compare(one, other, 0, 1000, Tolerance())
    assert (merged.changed, merged.over_tolerance, merged.max_abs, merged.place) == (
        whole.changed,
        whole.over_tolerance,
        whole.max_abs,
        whole.place,
    )
    settled = next(side_by_side([(one, other)], Tolerance()))
    assert settled.one == pytest.approx(np.linalg.norm(x.astype("f8")), rel=1e-6)
    assert merged.apart == pytest.approx(whole.apart, rel=1e-6)


def test_a_reader_that_returns_strided_runs_is_compared_correctly():
    x = np.arange(12.0).reshape(3, 4)
    assert steelyard.diff({"w": x.T}, {"w": np.ascontiguousarray(x.T)}).same
    assert steelyard.diff({"w": x[:, ::-1]}, {"w": x[:, ::-1].copy()}).same


# Pairing


def test_added_removed_renamed_and_reshaped_weights_are_reported():
    chance = np.random.default_rng(0)
    a = {"x": chance.random(4), "old": chance.random(5), "gone": chance.random(6), "s": np.zeros((2, 3))}
    b = {"x": a["x"], "new": a["old"], "fresh": chance.random(7), "s": np.zeros((3, 2))}
    found = steelyard.diff(a, b)
    assert {row.name or row.source: row.kind for row in found.rows} == {
        "x": "equal",
        "new": "renamed",
        "gone": "removed",
        "fresh": "added",
        "s": "shape",
    }
    assert next(row for row in found.rows if row.name == "new").source == "old"
    assert not found.same


def test_rules_pair_names_that_differ():
    a, b = arrays_of(mlp(0)), arrays_of(mlp(1))
    wrapped = {f"module.{name}": value for name, value in b.items()}
    found = steelyard.diff(a, wrapped, rules={r"(.*)": r"module.\1"})
    assert {row.kind for row in found.rows} == {"changed"}
    assert {row.paired_by for row in found.rows} == {"rule"}
    assert [row.max_abs for row in found.rows] == [row.max_abs for row in steelyard.diff(a, b).rows]
    with pytest.raises(ShapeError):
        steelyard.diff(a, wrapped, rules={"(": "x"})


def test_tied_weights_are_compared_once(tmp_path):
    net = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False))
    net[1].weight = net[0].weight
    torch.save(net.state_dict(), tmp_path / "a.pt")
    assert len(steelyard.diff(net, tmp_path / "a.pt").rows) == 1


def keras_twin(net):
    import keras

    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    twin = keras.Sequential(
        [keras.Input((linear[0].in_features,)), *(keras.layers.Dense(layer.out_features) for layer in linear)]
    )
    twin.set_weights([value for layer in linear for value in (layer.weight.detach().numpy().T, layer.bias.detach().numpy())])
    return twin


def test_a_torch_net_and_its_keras_twin_are_equal_and_one_changed_number_is_found(digits, tmp_path):
    net = trained(0, digits)
    twin = keras_twin(net)
    found = steelyard.diff(net, twin)
    assert found.same, found
    assert {row.kind for row in found.rows} == {"equal"}
    kernel = twin.layers[1].kernel.numpy()
    kernel[5, 7] += 0.25
    twin.layers[1].kernel.assign(kernel)
    twin.save(tmp_path / "twin.keras")
    torch.save(net.state_dict(), tmp_path / "net.pt")
    row = steelyard.diff(tmp_path / "net.pt", tmp_path / "twin.keras").rows[0]
    assert (row.changed, row.place, row.source) == (1, (5, 7), "2.weight")
    assert row.max_abs == pytest.approx(0.25)


def test_nets_that_cannot_be_paired_have_a_note_with_the_reason():
    found = steelyard.diff({"a.weight": np.zeros((3, 4))}, {"b.weight": np.ones((5, 6))})
    assert {row.kind for row in found.rows} == {"added", "removed"}
    assert any("not paired" in note for note in found.notes)


# Verdicts: each kind of difference gets its own, and unrelated nets get none


def kinds(a, b):
    return {row.name: row.verdict.kind for row in steelyard.diff(a, b).rows if row.verdict}


@pytest.fixture(scope="module")
def base(digits):
    return arrays_of(trained(0, digits))


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x[:400] / 16.0).astype("float32"), y[:400].astype("int64")


def test_fifty_unrelated_pairs_get_no_verdict(digits):
    nets = [arrays_of(trained(seed, digits, 5)) for seed in range(11)]
    pairs = [(one, other) for nth, one in enumerate(nets) for other in nets[:nth]][:50]
    assert len(pairs) == 50
    for one, other in pairs:
        assert kinds(one, other) == {}


def test_unrelated_gaussian_matrices_are_not_reported_as_fine_tuning():
    """Two unrelated nets were called "LoRA-like" and "post-training from a common base, confidence high" by others."""
    chance = np.random.default_rng(1)
    for shape in ((64, 64), (300, 200), (16, 1000)):
        assert kinds({"w": chance.standard_normal(shape)}, {"w": chance.standard_normal(shape)}) == {}


def test_numbers_near_the_initial_ones_of_a_norm_are_not_a_cast():
    ones = {"norm.weight": np.ones(256, "f4")}
    tuned = {"norm.weight": (1 + np.random.default_rng(0).uniform(-0.02, 0.02, 256)).astype("f4")}
    assert "cast" not in kinds(ones, tuned).values()
    assert "cast" not in kinds(tuned, ones).values()


@pytest.mark.parametrize("low", ["bfloat16", "float16", "float8_e4m3fn"])
def test_a_cast_through_a_lower_precision_is_named_in_both_directions(base, low):
    dtype = numpy_dtype(low)
    cast = {name: value.astype(dtype).astype("f4") for name, value in base.items()}
    assert set(kinds(base, cast).values()) == {"cast"} == set(kinds(cast, base).values())
    row = steelyard.diff(base, cast).rows[0]
    assert row.verdict.evidence["dtype"] == low
    assert row.verdict.what.startswith("rounded to ")
    stored = {name: value.astype(dtype) for name, value in base.items()}
    assert set(kinds(base, stored).values()) == {"cast"}


def test_a_scalar_multiple_is_named_with_its_factor(base):
    row = steelyard.diff(base, {name: value * np.float32(-1.7) for name, value in base.items()}).rows[0]
    assert row.verdict.kind == "scaled"
    assert row.verdict.evidence["factor"] == pytest.approx(-1.7, rel=1e-6)
    almost = {name: value * np.float32(1.7) for name, value in base.items()}
    almost["0.weight"][3, 3] *= 1.01
    assert "0.weight" not in kinds(base, almost)


def test_permuted_entries_are_named(base):
    order = np.random.default_rng(0).permutation(48)
    assert kinds({"w": base["0.weight"]}, {"w": base["0.weight"][order]}) == {"w": "reordered"}


def test_sparse_edits_are_named_with_their_count(base):
    edited = {name: value.copy() for name, value in base.items()}
    edited["0.weight"][:3, 5] += 1
    found = steelyard.diff(base, edited).rows[0].verdict
    assert (found.kind, found.evidence["changed"]) == ("sparse", 3)


def low_rank(shape, rank, size, seed=0):
    chance = np.random.default_rng(seed)
    return size * (chance.standard_normal((shape[0], rank)) @ chance.standard_normal((rank, shape[1]))) / np.sqrt(rank)


@pytest.mark.parametrize("shape", [(64, 64), (48, 64), (600, 300), (2000, 40), (3000, 2000)])
@pytest.mark.parametrize("rank", [1, 4])
def test_a_low_rank_update_is_named_with_its_rank(shape, rank):
    a = np.random.default_rng(9).standard_normal(shape).astype("f4")
    b = (a + low_rank(shape, rank, 1e-2)).astype("f4")
    found = steelyard.diff({"w": a}, {"w": b}).rows[0].verdict
    assert (found.kind, found.evidence["rank"]) == ("low rank", rank)
    assert found.evidence["share"] > 0.999 > 0.9 > found.evidence["null"]


def test_a_low_rank_update_of_a_convolution_is_found_in_its_unfolded_kernel():
    torch_kernel = np.random.default_rng(0).standard_normal((32, 16, 3, 3)).astype("f4")
    changed = (torch_kernel + low_rank((32, 144), 2, 0.01).reshape(32, 16, 3, 3)).astype("f4")
    assert kinds({"c.weight": torch_kernel}, {"c.weight": changed}) == {"c.weight": "low rank"}


def test_the_difference_of_two_low_rank_matrices_gets_no_verdict():
    assert kinds({"w": low_rank((64, 64), 3, 1, 1)}, {"w": low_rank((64, 64), 3, 1, 2)}) == {}


@pytest.mark.parametrize("shape", [(64, 64), (400, 300)])
def test_added_noise_is_named_with_the_range_of_random_matrices(shape):
    chance = np.random.default_rng(3)
    a = chance.standard_normal(shape).astype("f4")
    b = a + np.float32(0.01) * chance.standard_normal(shape).astype("f4")
    found = steelyard.diff({"w": a}, {"w": b}).rows[0].verdict
    assert found.kind == "noise"
    assert found.evidence["relative"] == pytest.approx(0.01, rel=0.1)


def test_continued_training_is_neither_noise_nor_low_rank(digits):
    assert "low rank" not in kinds(arrays_of(trained(0, digits, 10)), arrays_of(trained(0, digits, 200))).values()


# Errors of other tools


def test_weights_whose_values_all_differ_are_never_called_identical(tmp_path):
    """`diff` of two files with all values different printed "Shared 13 Identical 13"."""
    for name, seed in (("a", 0), ("b", 1)):
        steelyard.save(mlp(seed), tmp_path / f"{name}.safetensors")
    found = steelyard.diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert {row.kind for row in found.rows} == {"changed"}
    assert all(row.changed == row.count for row in found.rows)


def test_shuffled_weights_differ():
    """Comparing min, max, mean and std alone found shuffled weights equal to 5e-16."""
    x = np.random.default_rng(0).standard_normal(1000)
    row = steelyard.diff({"w": x}, {"w": np.random.default_rng(1).permutation(x)}).rows[0]
    assert row.changed > 990
    assert row.relative > 1


def test_the_cosine_of_a_large_tensor_never_exceeds_one():
    """A cosine of 1.0078 came out of sums in float32 over 49 million entries."""
    x = np.random.default_rng(0).standard_normal(1 << 22).astype("f4") + np.float32(10)
    y = x.copy()
    y[0] = np.nextafter(y[0], np.float32(99))
    row = steelyard.diff({"w": x}, {"w": y}).rows[0]
    assert 1 - 1e-12 < row.cosine <= 1


def test_a_net_of_plain_layers_does_not_divide_by_zero():
    """A CNN in a folder was "0 tensors, 13 skipped", then a ZeroDivisionError."""
    nets = [nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.LSTM(4, 3)) for _ in range(2)]
    assert len(steelyard.diff(*nets).rows) == 11
    assert steelyard.diff({}, {}).same
    assert repr(steelyard.diff({"w": np.zeros((0, 3))}, {"w": np.zeros((0, 3))}))


# The command


def run(*argv):
    return main(["diff", *map(str, argv)])


def test_the_command_ends_with_1_beyond_the_tolerance(tmp_path, capsys):
    net = mlp(0)
    torch.save(net.state_dict(), tmp_path / "a.pt")
    changed = arrays_of(net)
    changed["0.bias"][2] += 1e-3
    steelyard.save(changed, tmp_path / "b.safetensors")
    assert run(tmp_path / "a.pt", tmp_path / "a.pt") == 0
    assert "equal" in capsys.readouterr().out
    assert run(tmp_path / "a.pt", tmp_path / "b.safetensors") == 1
    assert run(tmp_path / "a.pt", tmp_path / "b.safetensors", "--atol", "2e-3") == 0
    assert run(tmp_path / "a.pt", tmp_path / "missing.pt") == 2
    capsys.readouterr()
    assert run(tmp_path / "a.pt", tmp_path / "b.safetensors", "--json") == 1
    record = json.loads(capsys.readouterr().out)
    first = record["weights"][0]
    assert (first["name"], first["changed"], first["place"]) == ("0.bias", 1, [2])


def test_hostile_names_are_printed_as_escapes(tmp_path, capsys):
    for name, value in (("a", 0.0), ("b", 1.0)):
        steelyard.save({"w\x1b[31m": np.full(3, value)}, tmp_path / f"{name}.safetensors")
    assert run(tmp_path / "a.safetensors", tmp_path / "b.safetensors") == 1
    assert "\x1b" not in capsys.readouterr().out


def test_a_gigabyte_is_compared_in_a_hundred_mebibytes(tmp_path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [128, 1 << 20], "data_offsets": [0, 1 << 29]}}).encode()
    header += b" " * (-len(header) % 8)
    for name in ("a", "b"):
        with open(tmp_path / f"{name}.safetensors", "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + (1 << 29))  # a hole, which takes no disk space
    with open(tmp_path / "b.safetensors", "r+b") as file:
        for place in range(3, 1 << 29, 1 << 20):
            file.seek(8 + len(header) + place // 4 * 4)
            file.write(np.float32(1).tobytes())
    code = (
        "import sys; from steelyard.cli import main; status = main(['diff', *sys.argv[1:]]);"
        "peak = open('/proc/self/status').read().split('VmHWM:')[1].split()[0]; print(status, peak, file=sys.stderr)"
    )
    files = [str(tmp_path / f"{name}.safetensors") for name in "ab"]
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True)
    status, peak = map(int, done.stderr.split()[-2:])
    assert status == 1
    assert "512 (3.8e-06)" in done.stdout
    assert peak < 100 * 1024


# the distribution of differences


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "int8", "int64", "uint8", "bool"]
)
def test_the_largest_difference_has_the_sign_of_b_minus_a_for_every_type(dtype):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    high, low = np.array([0, 1, 0], "f8").astype(kind), np.zeros(3).astype(kind)
    up, down = steelyard.diff({"w": low}, {"w": high}).rows[0], steelyard.diff({"w": high}, {"w": low}).rows[0]
    assert (up.signed_max, up.max_abs, up.place) == (1.0, 1.0, (1,))
    assert (down.signed_max, down.max_abs, down.place) == (-1.0, 1.0, (1,))
    assert down.to_dict()["signed_max"] == -1.0


def test_the_sign_comes_from_the_largest_difference_of_all_blocks_and_survives_overflow():
    a = np.zeros(3 * sizes.DIFF_BLOCK)
    b = a.copy()
    b[5], b[sizes.DIFF_BLOCK + 7], b[-1] = 1.0, -3.0, 2.0
    row = steelyard.diff({"w": a}, {"w": b}).rows[0]
    assert (row.signed_max, row.place) == (-3.0, (sizes.DIFF_BLOCK + 7,))
    huge = steelyard.diff({"w": np.array([1.7e308])}, {"w": np.array([-1.7e308])}).rows[0]
    json.dumps(huge.to_dict(), allow_nan=False)


def test_complex_numbers_have_the_magnitude_of_their_difference():
    row = steelyard.diff({"w": np.array([1 + 1j])}, {"w": np.array([1 - 2j])}).rows[0]
    assert row.signed_max == row.max_abs == 3.0
    assert row.summary().moments.maximum == 3.0


@pytest.mark.parametrize("dtypes", [("float32", "float32"), ("float64", "float16"), ("bfloat16", "float32"), ("int8", "int8")])
def test_a_spread_agrees_with_numpy_and_excludes_numbers_that_are_not_finite(dtypes):
    kinds = [np.dtype(getattr(ml_dtypes, dtype, dtype)) for dtype in dtypes]
    chance = np.random.default_rng(0)
    a, b = ((chance.standard_normal(sizes.DIFF_BLOCK + 999) * 20).astype(kind) for kind in kinds)
    if kinds[0].kind != "i":
        a[3], b[4], a[5], b[5] = np.nan, np.inf, np.inf, np.inf
    with np.errstate(invalid="ignore"):
        apart = b.astype("f8") - a.astype("f8")
    apart = apart[np.isfinite(apart)]
    found = steelyard.diff({"w": a}, {"w": b}).rows[0].summary()
    assert (found.moments.count, found.nan, found.inf) == (apart.size, 0, 0)
    assert found.moments.minimum == pytest.approx(apart.min(), rel=1e-6)
    assert found.moments.maximum == pytest.approx(apart.max(), rel=1e-6)
    assert found.moments.mean == pytest.approx(apart.mean(), rel=1e-5, abs=1e-6)


def test_a_spread_is_of_the_layout_that_was_compared():
    kernel = np.arange(6.0).reshape(2, 3)
    torch_like = {"fc.weight": kernel, "fc.bias": np.zeros(2)}
    flax = {"dense": {"kernel": kernel.T + np.array([[0.0, 1.0]]), "bias": np.zeros(2)}}
    row = next(row for row in steelyard.diff(torch_like, flax).rows if row.changed)
    assert (row.summary().moments.zeros, row.summary().moments.l1) == (3, 3.0)


def test_a_difference_is_pickled_without_the_weights():
    found = steelyard.diff({"w": np.zeros(3), "v": np.ones(2)}, {"w": np.ones(3), "u": np.ones(4)})
    copy = pickle.loads(pickle.dumps(found))
    assert copy.to_dict() == found.to_dict()
    assert repr(copy) == repr(found)
    assert all(row.summary() is None for row in copy.rows)
    assert [row.summary() is None for row in found.rows] == [row.kind != "changed" for row in found.rows]


def test_a_change_to_nan_comes_before_one_from_zero_and_that_before_other_ones():
    before = {"small": np.ones(4, "f4"), "zero": np.zeros(4, "f4"), "wrong": np.ones(4, "f4"), "large": np.ones(4, "f4")}
    after = {"small": np.full(4, 1.5, "f4"), "zero": np.ones(4, "f4"), "large": np.full(4, 9, "f4")}
    after["wrong"] = np.array([1, 1, 1, np.nan], "f4")
    assert [row.name for row in steelyard.diff(before, after).rows] == ["wrong", "zero", "large", "small"]


def test_only_a_change_of_finite_numbers_is_said_to_be_one_of_so_many_percent():
    before = {"both": np.ones(4, "f4"), "wrong": np.ones(4, "f4"), "steps": np.arange(3)}
    after = {"both": np.array([3, 1, 1, np.nan], "f4"), "wrong": np.array([1, 1, 1, np.nan], "f4"), "steps": np.arange(3) + 9}
    moved = {row.name: row.moved for row in steelyard.diff(before, after).rows}
    assert moved["both"]
    assert not moved["wrong"]


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_integers_that_float64_lacks_differ_from_every_float(dtype):
    most = np.iinfo(dtype).max
    numbers = np.array([0, 1 << 53, (1 << 53) + 1, most - 1, most, 1 << 62], dtype)
    [row] = steelyard.diff({"w": numbers}, {"w": numbers.astype("f8")}).rows
    assert row.changed == sum(int(float(number)) != int(number) for number in numbers) == 3
    assert steelyard.diff({"w": numbers.astype("f8")}, {"w": numbers}).rows[0].changed == 3


def test_a_long_double_is_compared_with_its_own_digits():
    number = np.nextafter(np.longdouble(1), np.longdouble(2))
    [row] = steelyard.diff({"w": np.array([1, number])}, {"w": np.ones(2)}).rows
    assert row.changed == 1

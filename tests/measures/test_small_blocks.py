"""Measures do not depend on the block size, on threads, or on whether weights are in a file or in memory."""

import numpy as np
import pytest
from small_sizes import SMALL

import steelyard
from steelyard import sizes


def nets():
    chance = np.random.default_rng(0)
    before = {
        "a": chance.standard_normal((5, 9)).astype("f4"),
        "b": chance.integers(-9, 9, (31,)).astype("i8"),
        "c": np.ones((4, 3, 2)),
    }
    after = {name: array.copy() for name, array in before.items()}
    after["a"][3, 7] += 1.5
    after["b"][[2, 20, 30]] += 1
    return before, after


def told(source):
    """The results of diff, digest and stats for two nets."""
    before, after = source
    rows = steelyard.diff(before, after, verdicts=False).to_dict()["weights"]
    return rows, steelyard.digest(after).to_dict(), steelyard.check(after).ok


@pytest.mark.parametrize("stored", [False, True])
def test_blocks_of_a_few_elements_give_the_same_as_whole_weights(tmp_path, monkeypatch, stored):
    source = list(nets())
    if stored:
        for nth, net in enumerate(nets()):
            source[nth] = tmp_path / f"{nth}.safetensors"
            steelyard.save(net, source[nth])
    whole = told(source)
    for name, size in SMALL.items():
        monkeypatch.setattr(sizes, name, size)
    rows, digest, ok = told(source)
    assert (digest, ok) == whole[1:]
    for found, expected in zip(rows, whole[0], strict=True):
        exact = ("name", "kind", "changed", "place", "max_abs", "signed_max", "nonfinite", "count")
        assert [found[word] for word in exact] == [expected[word] for word in exact]
        assert [found[word] for word in ("mean_abs", "relative", "cosine")] == pytest.approx(
            [expected[word] for word in ("mean_abs", "relative", "cosine")], rel=1e-6
        )


def test_a_patch_found_in_small_blocks_restores_every_bit(small_sizes, tmp_path):
    before, after = nets()
    steelyard.save_patch(before, after, tmp_path / "p.safetensors")
    restored = steelyard.apply_patch(before, tmp_path / "p.safetensors")
    assert {name: weight.numpy().tobytes() for name, weight in restored.items()} == {n: a.tobytes() for n, a in after.items()}


@pytest.mark.parametrize("by", ["out", "in"])
def test_channels_of_a_weight_read_in_small_boxes_are_numpys(small_sizes, by):
    from steelyard.core.readers import from_array

    array = np.random.default_rng(1).standard_normal((6, 11))
    rows = steelyard.stats(steelyard.Weights([from_array("w", array, axes="out in")]), by).rows
    assert [row.mean for row in rows] == pytest.approx(array.mean(1 if by == "out" else 0))


def test_singular_values_of_a_matrix_read_row_by_row_are_numpys(small_sizes):
    matrix = np.random.default_rng(2).standard_normal((20, 9))
    row = steelyard.spectra({"w": matrix}, null_draws=0)["w"]
    assert row.values == pytest.approx(np.linalg.svd(matrix, compute_uv=False), rel=1e-9)

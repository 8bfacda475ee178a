"""Effective weights: what replaces stored pieces, where, and under which name."""

import numpy as np
import pytest

import steelyard
from steelyard.core.effective import Derivation
from steelyard.dtypes import numpy_dtype
from steelyard.errors import ReadOnlyError, ShapeError

PRUNED = {
    "a.weight": np.ones((2, 3), "f4"),
    "b.weight_orig": np.arange(6, dtype="f4").reshape(2, 3),
    "b.bias": np.zeros(2, "f4"),
    "b.weight_mask": np.array([[0, 1, 0], [1, 1, 0]], "f4"),
    "c.weight": np.ones((2, 3), "f4"),
}


def test_an_effective_weight_takes_the_place_of_its_first_piece():
    effective = steelyard.weights(PRUNED).effective()
    assert [*effective] == ["a.weight", "b.weight", "b.bias", "c.weight"]
    assert effective["b.weight"].numpy().tolist() == [[0, 1, 0], [3, 4, 0]]


def test_an_effective_weight_names_its_pieces_and_has_the_role_of_a_plain_layer():
    weight = steelyard.effective(PRUNED)["b.weight"]
    assert weight.derivation == Derivation("pruning of PyTorch", ("b.weight_orig", "b.weight_mask"))
    assert (weight.role, weight.axes, weight.layer) == ("kernel", "out in", "b")


def test_a_net_without_pieces_of_a_scheme_stays_as_it_is():
    plain = steelyard.weights({"fc.weight": np.ones((2, 3))})
    assert plain.effective() is plain


def test_weights_whose_pieces_are_tied_are_tied():
    pruned = {f"{name}.{leaf}": PRUNED[f"b.{leaf}"] for name in ("one", "two") for leaf in ("weight_orig", "weight_mask")}
    effective = steelyard.effective(pruned)
    assert [weight.tied for weight in effective.values()] == [None, "one.weight"]
    assert effective.size == 6


def test_effective_weights_follow_the_model_but_cannot_be_assigned():
    pruned = {name: array.copy() for name, array in PRUNED.items()}
    effective = steelyard.weights(pruned).effective()
    pruned["b.weight_orig"][:] = 7
    assert effective["b.weight"].numpy().tolist() == [[0, 7, 0], [7, 7, 0]]
    with pytest.raises(ReadOnlyError):
        effective.assign({"b.weight": np.zeros((2, 3))})


def test_the_table_of_schemes_names_every_module():
    from steelyard.core.plugins import names, table

    assert sorted(table("schemes", "LEAVES")) == names("schemes")


GPTQ = {
    "fc.qweight": np.zeros((4, 32), "i4"),
    "fc.qzeros": np.full((1, 4), 0x77777777, "i4"),
    "fc.scales": np.ones((1, 32), "f2"),
    "fc.g_idx": np.zeros(32, "i4"),
}


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"fc.weight": np.ones((32, 32), "f4")}, "the source has another weight of this name"),
        ({"fc.weight": np.ones((32, 32), "i1"), "fc.SCB": np.ones(32, "f4")}, "several weights of this name are made"),
    ],
)
def test_two_weights_of_one_name_are_refused_and_the_rest_is_given(others, reason):
    effective = steelyard.effective(PRUNED | GPTQ | others)
    assert [*effective] == ["a.weight", "b.weight", "b.bias", "c.weight", "fc.weight"]
    assert reason in effective["fc.weight"].unreadable
    assert {*GPTQ, *others} == {*effective["fc.weight"].derivation.parts}
    assert effective["b.weight"].unreadable is None


@pytest.mark.parametrize(("scale", "expected"), [("float16", "float16"), ("bfloat16", "bfloat16"), ("float32", "float32")])
def test_on_request_packed_weights_have_the_type_of_their_scales(scale, expected):
    codes = np.array([[1.0, -2.0], [0.25, 3.0]], numpy_dtype("float8_e4m3fn"))
    stored = {"fc.weight": codes, "fc.weight_scale": np.full(1, 0.3, numpy_dtype(scale)), "norm.weight": np.ones(2, "f4")}
    plain, asked = steelyard.effective(stored), steelyard.effective(stored, dtype="scales")
    assert (plain["fc.weight"].dtype, asked["fc.weight"].dtype, asked["norm.weight"].dtype) == ("float32", expected, "float32")
    assert np.array_equal(asked["fc.weight"].numpy(), plain["fc.weight"].numpy().astype(numpy_dtype(expected)))
    assert asked["fc.weight"].derivation == plain["fc.weight"].derivation


def test_another_word_for_the_type_is_refused():
    with pytest.raises(ShapeError, match="dtype is 'float16'; it must be \"scales\""):
        steelyard.effective(PRUNED, dtype="float16")


def test_scales_behind_a_slash_are_those_of_no_scheme_and_are_listed_as_they_are_stored():
    stored = {"encoder/emb/weight": np.ones((3, 2), "i2"), "encoder/emb/weight_scale": np.full(1, 0.5, "f4")}
    listed = steelyard.effective(stored)
    assert {name: weight.numpy().tolist() for name, weight in listed.items()} == {
        name: each.tolist() for name, each in stored.items()
    }

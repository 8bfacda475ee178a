"""Each part of the target is made of parts of the source, of sums of them, or of the number that changes nothing."""

import numpy as np
import pytest

import steelyard
from steelyard.core.axes import parts_of
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.errors import ShapeError
from steelyard.transfers.layers.layer_weights import weights_of_layer
from steelyard.transfers.pairing.moves import Move, Reordering, described, is_neutral, moves

NORM = {"scale": Role.SCALE, "offset": Role.OFFSET, "mean": Role.MEAN, "variance": Role.VARIANCE}
RNG = np.random.default_rng(0)


def layer(kind, **members):
    """Return a layer and its arrays; each member is (role, axes, array)."""
    listed = [(leaf, from_array(leaf, array, role=role, axes=axes)) for leaf, (role, axes, array) in members.items()]
    (made,) = weights_of_layer(kind, kind, listed)
    return made, {leaf: array for leaf, (_, _, array) in members.items()}


def norm(*purposes):
    return layer("batch norm", **{purpose: (NORM[purpose], "", RNG.normal(size=3)) for purpose in purposes})


def lstm(**biases):
    """Return an LSTM of two units with these biases, each of eight numbers."""
    kernels = {
        "weight_ih": (Role.KERNEL, "[ifgo]*out in", RNG.normal(size=(8, 3))),
        "weight_hh": (Role.RECURRENT_KERNEL, "[ifgo]*out in", RNG.normal(size=(8, 2))),
    }
    return layer("lstm", **kernels, **{name: (Role.BIAS, "[ifgo]*out", array) for name, array in biases.items()})


def written(source, target, arrays):
    """Return the numbers of each part of the target by its key."""
    made, without_place = moves(source, target)
    return {key: move.values(arrays.__getitem__) for key, move in zip(target.parts, made, strict=True)}, without_place


@pytest.mark.parametrize(("missing", "neutral"), [("scale", 1), ("offset", 0), ("mean", 0), ("variance", 1)])
def test_a_vector_of_a_norm_that_the_source_lacks_is_filled_with_the_number_that_changes_nothing(missing, neutral):
    source, arrays = norm(*(purpose for purpose in NORM if purpose != missing))
    values, _ = written(source, norm(*NORM)[0], arrays)
    for purpose in NORM:
        wanted = [neutral] * 3 if purpose == missing else arrays[purpose].tolist()
        assert values[purpose, ""].tolist() == wanted, purpose
    (filled,) = (move for move in moves(source, norm(*NORM)[0])[0] if not move.sources)
    assert described(filled) == f"filled with {neutral}"


def test_the_input_bias_is_made_from_the_only_bias_and_the_recurrent_one_is_filled_with_zeros():
    bias = np.arange(1.0, 9.0)
    source, arrays = lstm(bias=bias)
    values, without_place = written(source, lstm(bias_ih=bias, bias_hh=bias)[0], arrays)
    for nth, gate in enumerate("ifgo"):
        assert values["input bias", gate].tolist() == bias[2 * nth : 2 * nth + 2].tolist()
        assert values["recurrent bias", gate].tolist() == [0, 0]
    assert not without_place


def test_two_biases_are_added_up_where_the_target_has_one():
    source, arrays = lstm(bias_ih=np.arange(8.0), bias_hh=np.full(8, 10.0))
    values, without_place = written(source, lstm(bias=np.zeros(8))[0], arrays)
    assert [values["bias", gate].tolist() for gate in "ifgo"] == [[10, 11], [12, 13], [14, 15], [16, 17]]
    assert not without_place
    one, _ = lstm(bias_hh=np.zeros(8))
    assert [len(move.sources) for move in moves(one, lstm(bias=np.zeros(8))[0])[0] if move.target.weight.name == "bias"] == [
        1
    ] * 4


def test_a_layer_without_any_bias_cannot_fill_one():
    for bias in ("bias", "bias_ih", "bias_hh"):
        with pytest.raises(ShapeError, match=r"lstm of the target needs an? .*bias of gate i, which lstm of the source does not"):
            moves(lstm()[0], lstm(**{bias: np.zeros(8)})[0])
    dense, _ = layer("dense", kernel=(Role.KERNEL, "in out", np.ones((2, 2))))
    biased, _ = layer("dense", kernel=(Role.KERNEL, "in out", np.ones((2, 2))), bias=(Role.BIAS, "out", np.ones(2)))
    with pytest.raises(ShapeError, match="dense of the target needs a bias, which dense of the source does not have"):
        moves(dense, biased)
    assert moves(biased, dense)[1] == [("bias", "")]


def test_the_factors_of_an_adapter_inside_a_layer_go_into_the_factors_of_another():
    factors = {"lora_a": (Role.OTHER, "in rank", RNG.normal(size=(4, 2))), "lora_b": (Role.OTHER, "rank out", np.ones((2, 3)))}
    adapted = {"kernel": (Role.KERNEL, "in out", np.ones((4, 3))), **factors}
    source, arrays = layer("dense", **adapted)
    values, without_place = written(source, layer("dense", **adapted)[0], arrays)
    assert np.array_equal(values["lora_a", ""].squeeze(), arrays["lora_a"])
    assert not without_place
    plain, _ = layer("dense", kernel=adapted["kernel"])
    assert moves(source, plain)[1] == [("lora_a", ""), ("lora_b", "")]


def test_a_kernel_becomes_a_direction_and_its_lengths():
    kernel = RNG.normal(size=(2, 3))
    source, arrays = layer("dense", weight=(Role.KERNEL, "out in", kernel))
    target, _ = layer("dense", weight_g=(Role.OTHER, "", np.ones((2, 1))), weight_v=(Role.KERNEL, "out in", kernel))
    values, without_place = written(source, target, arrays)
    np.testing.assert_allclose(values["norm", ""], np.linalg.norm(kernel, axis=1), rtol=1e-12)
    assert np.array_equal(values["direction", ""], kernel)
    assert not without_place


def test_the_state_of_spectral_norm_needs_no_place_and_its_kernel_is_divided_by_sigma():
    raw, u, v = RNG.normal(size=(2, 3)), RNG.normal(size=2), RNG.normal(size=3)
    prefix = "parametrizations.weight."
    state = {f"{prefix}0._u": (Role.OTHER, "", u), f"{prefix}0._v": (Role.OTHER, "", v)}
    source, arrays = layer("dense", **{f"{prefix}original": (Role.KERNEL, "out in", raw)}, **state)
    target, _ = layer("dense", kernel=(Role.KERNEL, "in out", raw.T))
    values, without_place = written(source, target, arrays)
    np.testing.assert_allclose(values["kernel", ""], raw / (u @ raw @ v), rtol=1e-12)
    assert not without_place


@pytest.mark.parametrize("to_last", [True, False])
def test_flattened_features_change_from_channels_first_to_channels_last_and_back(to_last):
    channels, space = 2, 3
    first = np.arange(channels * space).reshape(channels, space)
    before, after = (first.reshape(-1), first.T.reshape(-1)) if to_last else (first.T.reshape(-1), first.reshape(-1))
    kernel = np.stack([before, before + 10]).astype("f8")
    source, arrays = layer("dense", kernel=(Role.KERNEL, "out in", kernel))
    made, _ = moves(source, source, (Reordering("in", channels, to_last), Reordering("out", 2, to_last)))
    assert [each.label for each in made[0].reorderings] == ["in", "out"]
    assert made[0]._replace(reorderings=made[0].reorderings[:1]).values(arrays.__getitem__).tolist() == [
        after.tolist(),
        (after + 10).tolist(),
    ]
    ways = "(C,S) to (S,C)" if to_last else "(S,C) to (C,S)"
    assert str(made[0].reorderings[0]) == f"in: {ways}, 2 channels"


def test_a_vector_takes_the_reordering_of_its_own_axis_alone():
    members = {"kernel": (Role.KERNEL, "out in", np.ones((4, 6))), "bias": (Role.BIAS, "out", np.arange(4.0))}
    source, arrays = layer("dense", **members)
    kernel, bias = moves(source, source, (Reordering("in", 2, to_last=True), Reordering("channel", 2, to_last=True)))[0]
    assert [each.label for each in kernel.reorderings] == ["in"]
    assert [each.label for each in bias.reorderings] == ["channel"]
    assert bias.values(arrays.__getitem__).tolist() == [0, 2, 1, 3]


def test_a_part_is_neutral_where_no_number_of_it_changes_an_output():
    def part(values):
        (made,) = parts_of(from_array("x", values), "channel", ("channel",))
        return made, values

    for purpose, neutral in (("scale", 1.0), ("variance", 1.0), ("offset", 0.0), ("bias", 0.0), ("recurrent bias", 0.0)):
        one, values = part(np.full(3, neutral))
        assert is_neutral(one, purpose, values), purpose
        other = np.array([neutral, neutral, neutral + 0.5])
        assert not is_neutral(one, purpose, other), purpose


def matrix(name, shape, axes="out in"):
    (made,) = parts_of(from_array(name, np.zeros(shape), axes=axes), axes, ("out", "in"))
    return made


@pytest.mark.parametrize(
    ("how", "shape", "refused"),
    [("pad", (3, 3), ""), ("pad", (3, 2), "shrink"), ("pad", (1, 3), "shrink"), ("truncate", (1, 2), ""),
     ("truncate", (2, 4), "grow"), ("truncate", (3, 1), "grow"), ("pad", (2, 3), ""), ("truncate", (2, 3), "")],
)  # fmt: skip
def test_sizes_change_in_one_direction_only(how, shape, refused):
    values = np.arange(6.0).reshape(2, 3)
    move = Move(matrix("t", shape), (matrix("a", (2, 3)),), resize=how)
    if refused:
        with pytest.raises(ShapeError, match=f"t has shape .* resize='{how}' does not {refused}"):
            move.values({"a": values}.__getitem__)
        return
    wanted = np.zeros(shape)
    wanted[:2, :3] = values[: shape[0], : shape[1]]
    assert move.values({"a": values}.__getitem__).tolist() == wanted.tolist()
    assert described(move) == ("" if shape == (2, 3) else how)


def test_a_move_is_described_by_its_axes_its_sum_and_its_reordering():
    turned = Move(matrix("t", (3, 2), "in out"), (matrix("a", (2, 3)),))
    assert described(turned) == "out in -> in out"
    assert described(turned._replace(sources=turned.sources * 2)) == "out in -> in out; sum of two biases"
    assert described(Move(matrix("t", (2, 3)), (matrix("a", (2, 3)),))) == ""
    reordered = Move(matrix("t", (2, 3)), (matrix("a", (2, 3)),), reorderings=(Reordering("in", 3, to_last=True),))
    assert described(reordered) == "in: (C,S) to (S,C), 3 channels"


SIZES = [
    ((8,), (1,)),
    ((8,), ()),
    ((), (8,)),
    ((8,), (7,)),
]


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_a_bias_of_another_size_is_refused_by_the_plan_with_both_shapes(source, target):
    one = {"fc.weight": np.ones((8, 4)), "fc.bias": np.ones(source)}
    other = {"dense": {"kernel": np.zeros((4, 8)), "bias": np.zeros(target)}}
    before = other["dense"]["kernel"].copy()
    for call in (steelyard.plan_transfer, steelyard.transfer):
        with pytest.raises(
            ShapeError, match=r"fc\.bias of the source has shape \[8?\], which does not fit into dense\.bias of sh"
        ):
            call(one, into=other)
    np.testing.assert_array_equal(other["dense"]["kernel"], before)


def test_a_second_bias_of_another_size_is_not_broadcast_into_the_sum():
    one = {"l.weight_ih_l0": np.ones((32, 4)), "l.weight_hh_l0": np.ones((32, 8)), "l.bias_ih_l0": np.ones(32)}
    one["l.bias_hh_l0"] = np.ones(4)
    other = {"l": {"kernel": np.ones((4, 32)), "recurrent_kernel": np.ones((8, 32)), "bias": np.zeros(32)}}
    for resize in (None, "pad", "truncate"):
        with pytest.raises(ShapeError, match=r"l\.bias_hh_l0 of the source has shape \[4\]"):
            steelyard.transfer(one, into=other, resize=resize)

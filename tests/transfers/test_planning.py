"""A plan leaves out what the user leaves out, and names the layers that it cannot pair."""

import numpy as np
import pytest

from steelyard.core.graph import Graph, Layer
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.errors import AmbiguityError, ShapeError
from steelyard.transfers.pairing.net import Net
from steelyard.transfers.planning import Options, make_plan


def net(*, graph=None, **layers):
    """Return a net of dense layers by their (out, in), or of arrays by the names of weights."""
    arrays = {}
    for name, shape in layers.items():
        arrays |= {f"{name}.weight": np.zeros(shape), f"{name}.bias": np.zeros(shape[0])}
    return of_arrays(arrays, graph)


def of_arrays(arrays, graph=None):
    return Net(Weights(from_array(name, array) for name, array in arrays.items()), graph)


def planned(source, target, *, guess=False, **options):
    return make_plan(source, target, Options(**options), guess=guess)[0]


def test_a_layer_of_the_target_without_a_partner_is_named_first_with_what_is_unmatched_in_the_source():
    source, target = net(a=(2, 3), b=(9, 4), c=(9, 5)), net(a=(2, 3), x=(7, 7))
    with pytest.raises(ShapeError) as caught:
        planned(source, target)
    assert str(caught.value) == (
        "'x' (dense: kernel [7, 7], bias [7]) of the target has no partner in the source; unmatched there: "
        "'b' (dense: kernel [9, 4], bias [9]), 'c' (dense: kernel [9, 5], bias [9]) "
        "(1 layer of the target and 2 of the source in all); leave it out with skip=, or name its partner with pairs="
    )


def test_a_layer_of_the_source_is_named_where_the_target_has_none_left():
    with pytest.raises(ShapeError) as caught:
        planned(net(a=(2, 3), b=(9, 4), c=(9, 5)), net(a=(2, 3)))
    assert str(caught.value).startswith(
        "'b' (dense: kernel [9, 4], bias [9]) of the source has no partner in the target; unmatched there: none "
        "(0 layers of the target and 2 of the source in all);"
    )


def test_three_layers_that_are_unmatched_in_the_other_net_are_listed():
    with pytest.raises(ShapeError) as caught:
        planned(net(**{name: (9, nth) for nth, name in enumerate("abcd", start=3)}), net(x=(7, 7)))
    assert "'c' (dense" in str(caught.value)
    assert "'d' (dense" not in str(caught.value)


def test_groups_of_equal_layers_are_counted_and_six_of_the_first_are_named():
    names = [f"l{n}" for n in range(7)]
    source, target = ({f"{side}{name}": (3, 3) for name in names} for side in "st")
    with pytest.raises(AmbiguityError) as caught:
        planned(net(**source), net(**target))
    listed = (", ".join(f"{side}{name}" for name in names[:6]) for side in "st")
    assert str(caught.value).startswith("it is not known which of {} is which of {}: they are of one".format(*listed))
    assert "more groups" not in str(caught.value)
    more = {"u": (4, 4), "v": (4, 4)}
    with pytest.raises(AmbiguityError, match=r"one kind and shape \(and 1 more groups\);"):
        planned(net(**source, **more), net(**target, **{f"t{name}": shape for name, shape in more.items()}))


def test_equal_layers_are_paired_by_their_order_only_where_guessing_is_allowed():
    source, target = net(a=(3, 3), b=(3, 3)), net(x=(3, 3), y=(3, 3))
    plan, choices = make_plan(source, target, Options(), guess=True)
    assert plan.pairs == {"a": "x", "b": "y"}
    assert [len(choice.sources) for choice in choices] == [2]
    with pytest.raises(ShapeError, match=r"'x' .* of the target has no partner"):
        planned(net(a=(3, 3)), net(x=(3, 3), y=(3, 3)), guess=True)


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("enc", ["encoder", "head"]),
        ("enc.0", ["enc.1", "encoder", "head"]),
        ("enc*", ["head"]),
        ("*.0", ["enc.1", "encoder", "head"]),
        ("enc.0.weight", ["enc.1", "encoder", "head"]),
        ("e?c", ["encoder", "head"]),
        ("en", ["enc.0", "enc.1", "encoder", "head"]),
        (["enc", "head"], ["encoder"]),
    ],
)
def test_a_pattern_is_a_whole_name_of_a_layer_or_weight_or_all_that_is_below_one(pattern, left):
    layers = {"enc.0": (2, 3), "enc.1": (3, 4), "encoder": (4, 5), "head": (5, 6)}
    plan = planned(net(**layers), net(**layers), skip=pattern)
    assert list(plan.pairs) == left
    chosen = [name for name in layers if name not in left]
    if chosen:
        assert list(planned(net(**layers), net(**layers), only=pattern).pairs) == chosen
    assert plan.settings == {"only": [], "skip": [pattern] if isinstance(pattern, str) else pattern, "resize": None}


def test_a_pattern_takes_the_slash_of_names_as_a_separator_too_and_skip_wins_over_only():
    layers = {"enc/0": (2, 3), "enc/1": (3, 4), "encoder": (4, 5)}
    assert list(planned(net(**layers), net(**layers), only="enc").pairs) == ["enc/0", "enc/1"]
    assert list(planned(net(**layers), net(**layers), only="enc", skip="enc/0").pairs) == ["enc/1"]


def test_patterns_name_the_layers_of_the_graph_too():
    """The second level of a recurrent layer has a name of its own, which the graph does not have."""
    roles = {"weight_ih": Role.KERNEL, "weight_hh": Role.RECURRENT_KERNEL}

    def levels():
        made = [
            from_array(f"rnn.{leaf}_l{level}", np.zeros((3, 3)), role=role, axes="out in")
            for level in (0, 1)
            for leaf, role in roles.items()
        ]
        made.append(from_array("fc.weight", np.zeros((2, 3)), role=Role.KERNEL, axes="out in"))
        return Net(Weights(made), Graph([Layer("rnn", "rnn", "RNN"), Layer("fc", "dense", "Linear")]))

    assert list(planned(levels(), levels(), skip="rnn").pairs) == ["fc"]
    assert len(planned(levels(), levels(), only="rnn").pairs) == 2


def test_weights_of_no_known_layer_are_left_out_by_the_same_patterns():
    layer = {"fc.weight": np.zeros((2, 3)), "fc.bias": np.zeros(2)}
    source, target = of_arrays({"token": np.zeros((1, 4)), **layer}), of_arrays(layer)
    source.unassigned[0].trainable = True
    with pytest.raises(ShapeError, match="token of the source belongs to no known layer"):
        planned(source, target)
    assert planned(source, target, skip="tok*").pairs == {"fc": "fc"}
    assert planned(source, target, only="fc").pairs == {"fc": "fc"}
    with pytest.raises(ShapeError, match="token of the source"):
        planned(source, target, only=["fc", "token"])


def test_layers_of_other_sizes_are_partners_by_name_or_as_the_only_ones_of_their_kind():
    plan = planned(net(a=(2, 3), b=(4, 5)), net(b=(6, 7), a=(8, 9)), resize="pad")
    assert plan.pairs == {"b": "b", "a": "a"}
    assert {row.note for row in plan.rows} == {"the only one of its kind and name"}
    assert planned(net(a=(2, 3)), net(x=(8, 9)), resize="pad").pairs == {"a": "x"}
    with pytest.raises(ShapeError, match="has no partner"):
        planned(net(a=(2, 3), b=(4, 5)), net(x=(8, 9), y=(6, 7)), resize="pad")
    with pytest.raises(ShapeError, match="has no partner"):
        planned(net(a=(2, 3)), net(a=(8, 9)))


def test_a_layer_of_another_kind_is_never_a_partner_whatever_its_name_and_size():
    conv = of_arrays({"a.weight": np.zeros((2, 3, 3, 3)), "a.bias": np.zeros(2)})
    with pytest.raises(ShapeError, match="has no partner"):
        planned(conv, net(a=(2, 3)), resize="pad")


@pytest.mark.parametrize("resize", ["", "grow", True])
def test_a_word_that_resize_does_not_know_is_refused(resize):
    with pytest.raises(ShapeError, match='it must be "pad", "truncate" or None'):
        planned(net(a=(2, 3)), net(a=(2, 3)), resize=resize)


def within(prefix, arrays):
    return {prefix + name: array for name, array in arrays.items()}


THREE = {f"{nth}.{leaf}": np.zeros((4, 4)[: 1 + (leaf == "weight")]) for nth in (0, 2, 4) for leaf in ("weight", "bias")}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model.", "any.word."])
def test_names_within_a_wrapper_are_equal_names(prefix):
    for source, target, side in ((within(prefix, THREE), THREE, "left"), (THREE, within(prefix, THREE), "right")):
        plan = planned(of_arrays(source), of_arrays(target))
        assert [(row.sources, row.target) for row in plan.rows] == [
            ((one,), other) for one, other in zip(source, target, strict=True)
        ]
        assert {row.note for row in plan.rows} == {"equal names without a prefix"}
        assert f"names were paired without their prefix {prefix!r} on the {side}" in repr(plan)
        assert plan.to_dict()["prefixes"][side]["prefix"] == prefix
    assert planned(of_arrays(THREE), of_arrays(THREE)).to_dict()["prefixes"] is None


def test_a_wrapper_around_a_part_is_seen_and_a_second_net_of_the_same_names_is_not_guessed_at():
    part = {name.replace("2.", "2._checkpoint_wrapped_module."): array for name, array in THREE.items()}
    assert planned(of_arrays(part), of_arrays(THREE)).pairs == {"0": "0", "2._checkpoint_wrapped_module": "2", "4": "4"}
    two = within("ema.", THREE) | within("model.", THREE)
    with pytest.raises(ShapeError, match="names agree without the prefix 'ema\\.' or 'model\\.', and it is not known which"):
        planned(of_arrays(two), of_arrays(THREE))


def test_a_copy_that_the_target_ties_is_left_out_within_a_wrapper_too():
    rng = np.random.default_rng(0)
    sides = {"weight": (5, 4), "bias": (5,)}
    arrays = {f"{layer}.{leaf}": rng.standard_normal(side) for layer in ("one", "fc") for leaf, side in sides.items()}
    source = within("module.", arrays | {f"head.{leaf}": arrays[f"one.{leaf}"].copy() for leaf in sides})
    assert planned(of_arrays(source), of_arrays(arrays)).pairs == {"module.one": "one", "module.fc": "fc"}

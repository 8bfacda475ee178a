"""Names are paired through the words of wrappers, and never where two ways fit."""

import numpy as np
import pytest

import steelyard
from steelyard.core.wrappers import Side, wrapping
from steelyard.errors import ShapeError

LAYERS = [f"layers.{nth}.{part}" for nth in range(3) for part in ("attn.q", "attn.k", "mlp")]
NET = {f"{layer}.{leaf}": (nth, 4)[: 1 + (leaf == "weight")] for nth, layer in enumerate(LAYERS) for leaf in ("weight", "bias")}


def within(prefix, net=NET):
    return {prefix + name: shape for name, shape in net.items()}


def around(word, part, net=NET):
    return {name.replace(f".{part}", f".{word}.{part}"): shape for name, shape in net.items()}


PREFIXES = [
    "module.",
    "_orig_mod.",
    "model.",
    "net.",
    "base_model.model.",
    "_fsdp_wrapped_module.",
    "ema_model.module.",
    "any/word/",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_one_prefix_of_either_side_is_left_out(prefix):
    found, back = wrapping(within(prefix), NET), wrapping(NET, within(prefix))
    assert found.names == {prefix + name: name for name in NET}
    assert back.names == {name: prefix + name for name in NET}
    assert (found.left, found.right, back.left, back.right) == (Side(prefix), Side(), Side(), Side(prefix))
    assert found.note == f"names were paired without their prefix {prefix!r} on the left"
    assert found.to_dict() == {"left": {"prefix": prefix, "words": ()}, "right": {"prefix": "", "words": ()}}


def test_both_sides_may_have_a_prefix():
    found = wrapping(within("module."), within("model.net."))
    assert found.names["module.layers.0.mlp.weight"] == "model.net.layers.0.mlp.weight"
    assert found.note.endswith("their prefix 'module.' on the left and 'model.net.' on the right")


@pytest.mark.parametrize("word", ["_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod", "module", "my_wrapper"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_words_in_the_middle_are_left_out(word, prefix):
    found = wrapping(within(prefix, around(word, "attn")), NET)
    assert sorted(found.names.values()) == sorted(NET)
    assert (found.left.prefix, found.left.words) == (prefix, (word,))
    assert f"{word!r} inside names on the left" in found.note


def test_wrappers_within_wrappers_and_base_layers_are_left_out():
    net = within("module._fsdp_wrapped_module.", around("_checkpoint_wrapped_module._orig_mod", "mlp"))
    assert len(wrapping(NET, net).names) == len(NET)
    tuned = {name.replace("q.", "q.base_layer."): shape for name, shape in within("base_model.model.").items()}
    tuned |= {"base_model.model.layers.0.attn.q.lora_A.default.weight": (2, 4)}
    assert wrapping(tuned, NET).names["base_model.model.layers.2.attn.q.base_layer.bias"] == "layers.2.attn.q.bias"


def test_a_wrapper_around_a_part_is_seen_where_most_names_are_equal():
    part = {name.replace("layers.2.", "layers.2._orig_mod."): shape for name, shape in NET.items()}
    found = wrapping(part, NET)
    assert len(found.names) == len(NET)
    assert found.left == Side("", ("_orig_mod",))


def test_some_names_may_be_missing_or_of_another_shape():
    file = within("model.", dict(list(NET.items())[2:])) | {"step": (), "model.layers.0.attn.k.bias": (9,)}
    found = wrapping(file, NET | {"step": (), "head.weight": (2, 2)})
    assert len(found.names) == len(NET) - 2 + 1
    assert found.names["step"] == "step"


def test_of_two_prefixes_the_shapes_decide_or_none_does():
    two = within("one.") | {f"two.{name}": (*shape, 9) for name, shape in NET.items()}
    assert wrapping(two, NET).left == Side("one.")
    both = wrapping(within("ema.") | within("model."), NET)
    assert not both.names
    assert not both.is_found
    assert both.note == "names agree without the prefix 'ema.' or 'model.', and it is not known which, so none was left out"


def test_other_names_are_no_wrappers():
    assert not wrapping({"q.weight": (4, 4), "q.bias": (4,)}, {"a.weight": (4, 4), "a.bias": (4,)}).names
    assert wrapping({"head.w": (3,), "a.w": (2,), "b.w": (2,)}, {"x.head.w": (3,), "a.w": (2,), "b.w": (2,)}).note == ""
    renamed = {name.replace("attn", "attention"): shape for name, shape in NET.items()}
    assert set(wrapping(renamed, NET).names) == {name for name in NET if "mlp" in name}
    assert wrapping({}, NET) == wrapping({}, {})


def test_assign_pairs_names_without_a_prefix_only_when_asked():
    model = {"a": {"w": np.zeros(2)}, "b": {"w": np.zeros(3)}}
    w, values = steelyard.weights(model), {"module.a.w": np.ones(2), "module.b.w": np.ones(3)}
    with pytest.raises(
        ShapeError, match=r"names agree without their prefix 'module\.' on the left: match=.suffix. pairs them so"
    ):
        w.assign(values)
    assert not w.to_vector().any()
    w.assign(values, match="suffix")
    assert w.to_vector().tolist() == [1] * 5
    w.assign({"a.w": np.zeros(2)}, match="suffix")
    assert w.to_vector().tolist() == [0] * 2 + [1] * 3


def test_assign_refuses_two_prefixes_that_fit_names_that_stay_unknown_and_other_words():
    w = steelyard.weights({"a": {"w": np.zeros(2)}, "b": {"w": np.zeros(3)}})
    values = {f"{head}.{name}": weight.numpy() + 1 for head in ("ema", "model") for name, weight in w.items()}
    with pytest.raises(ShapeError, match=r"'ema\.' or 'model\.', and it is not known which"):
        w.assign(values, match="suffix")
    with pytest.raises(ShapeError, match="no weight is called 'c'"):
        w.assign({"m.a.w": np.ones(2), "m.b.w": np.ones(3), "c": np.ones(1)}, match="suffix")
    with pytest.raises(ShapeError, match='match is \'prefix\'; it must be "name" or "suffix"'):
        w.assign({}, match="prefix")
    assert not w.to_vector().any()

"""Where neither a bias nor a config shows which axis of a kernel is that of its outputs, the assumption is named."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from frameworks.torch.test_roles_of_nets import net_of

import steelyard
from steelyard.errors import AmbiguityError

SQUARE, OTHER = "transformer.h.0.attn.c_proj.weight", "fc.weight"


def numbered(rows, columns):
    return np.arange(rows * columns, dtype="f4").reshape(rows, columns)


def flax(*shape):
    return {"dense": {"kernel": np.zeros(shape, "f4"), "bias": np.zeros(shape[1], "f4")}}


def test_a_square_kernel_of_a_bare_state_dict_is_moved_by_a_named_assumption():
    made = steelyard.transfer({OTHER: numbered(3, 3), "fc.bias": np.zeros(3, "f4")}, into=flax(3, 3))
    assert made.plan.notes == [
        "the source does not show the order of the axes of fc.weight, square; out-in was assumed",
        "the target does not show the order of the axes of dense.kernel, square; in-out was assumed",
    ]
    assert made.model["dense"]["kernel"].tolist() == numbered(3, 3).T.tolist()


def test_a_kernel_whose_bias_or_partner_shows_its_axes_is_not_named():
    bias = {"fc.bias": np.zeros(3, "f4")}
    assert steelyard.plan_transfer({OTHER: numbered(3, 4), **bias}, into=flax(4, 3)).notes == []
    assert (
        steelyard.plan_transfer({OTHER: numbered(3, 3), **bias}, into={"a.weight": np.zeros((3, 3)), "a.bias": np.zeros(3)}).notes
        == []
    )


def test_the_file_of_gpt2_goes_into_gpt2_without_a_transposition(tmp_path):
    net = net_of("GPT2")
    torch.save(net.state_dict(), tmp_path / "net.pt")
    wanted = net.state_dict()[SQUARE].numpy().copy()
    with torch.no_grad():
        for each in net.parameters():
            each.zero_()
    made = steelyard.transfer(str(tmp_path / "net.pt"), into=net)
    assert made.plan.notes == []
    assert np.array_equal(steelyard.weights(net)[SQUARE].numpy(), wanted)


def test_a_canonical_digest_names_the_kernels_whose_axes_it_assumes_and_a_config_makes_it_sure(tmp_path):
    net = net_of("GPT2")
    net.save_pretrained(tmp_path)
    live = steelyard.digest(net, layout="canonical")
    assert not live.unsure
    known = steelyard.digest(tmp_path / "model.safetensors", layout="canonical")
    assert (known.whole, known.unsure) == (live.whole, ())
    (tmp_path / "config.json").unlink()
    bare = steelyard.digest(tmp_path / "model.safetensors", layout="canonical")
    assert SQUARE in bare.unsure
    assert bare.whole != live.whole
    assert {name for name in bare.weights if bare.weights[name] != live.weights.get(name)} <= set(bare.unsure)


def test_a_kernel_without_a_bias_is_named_in_a_canonical_digest():
    assert steelyard.digest({OTHER: numbered(3, 4)}, layout="canonical").unsure == (OTHER,)
    assert steelyard.digest({OTHER: numbered(3, 4), "fc.bias": np.zeros(3, "f4")}, layout="canonical").unsure == ()


def target(*sizes, vocabulary=0):
    """Return a net of PyTorch's layout, with an embedding first if it has a vocabulary."""
    named = {"embedding.weight": np.zeros((vocabulary, sizes[0]), "f4")} if vocabulary else {}
    for place, (inputs, outputs) in enumerate(pairwise(sizes)):
        named |= {f"fc{place}.weight": np.zeros((outputs, inputs), "f4"), f"fc{place}.bias": np.zeros(outputs, "f4")}
    return named


def test_the_plan_for_a_list_without_names_says_what_was_assumed():
    into = target(4, 4, 3)
    listed = [np.full(array.shape, place, "f4") for place, array in enumerate(into.values())]
    made = steelyard.transfer(listed, into=into)
    assert any("the source has no names" in note for note in made.plan.notes)
    assert [array.reshape(-1)[0] for array in made.model.values()] == [0, 1, 2, 3]


@pytest.mark.parametrize("vocabulary", [0, 9])
def test_a_list_whose_kernels_are_all_square_is_refused(vocabulary):
    into = target(4, 4, 4, vocabulary=vocabulary)
    with pytest.raises(AmbiguityError, match="no names, and its kernels are square, such as fc0"):
        steelyard.plan_transfer([array + 1 for array in into.values()], into=into)

"""Pruning sets to zero what PyTorch's own pruning does, and pruning twice is pruning once."""

import json

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
import torch
from carried import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils import prune as torch_prune

import steelyard
from steelyard import sizes
from steelyard.errors import ShapeError

GOLDEN = SHARED / "editing" / "golden"
CASES = sorted(path.parent.name for path in GOLDEN.glob("prune_*/meta.json"))
KEPT_BY_ACCIDENT = ("prune_equal",)


def test_pruning_the_parts_of_a_kernel_says_that_the_layer_may_have_other_zeros():
    layer = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(4, 4))
    made = steelyard.prune(layer, 0.5)
    (said,) = [note for note in made.meta["notes"] if "other zeros" in note]
    assert said.startswith("'weight' of the layers is made of pruned weights by orthogonal parametrization of PyTorch")
    steelyard.weights(layer).assign(made)
    assert np.count_nonzero(layer.weight.detach().numpy() == 0) < 8
    effective = steelyard.prune(steelyard.effective(layer), 0.5)
    assert np.count_nonzero(effective["weight"].numpy() == 0) == 8
    assert not any("other zeros" in note for made in (effective, steelyard.prune(net(), 0.5)) for note in made.meta["notes"])


def net(dtype=torch.float32):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 10), torch.nn.ReLU(), torch.nn.Linear(10, 4)).to(dtype)


def pruned_by_torch(model, amount):
    kernels = [(part, "weight") for part in model if isinstance(part, torch.nn.Linear)]
    torch_prune.global_unstructured(kernels, torch_prune.L1Unstructured, amount=amount)
    return {f"{nth}.weight": part.weight.detach().float().numpy() for nth, part in enumerate(model) if hasattr(part, "weight")}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("amount", [0.0, 0.35, 0.8, 1.0])
def test_a_global_share_is_that_of_torch(dtype, amount):
    model = net(dtype)
    made = {name: array.astype("float32") for name, array in steelyard.prune(model, amount).arrays().items()}
    for name, array in pruned_by_torch(model, amount).items():
        np.testing.assert_array_equal(made[name], array)
    assert list(made) == ["0.weight", "0.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize("size", [10, 20])
@pytest.mark.parametrize("amount", [0.25, 0.35])
def test_the_count_is_rounded_as_torch_does_half_to_even(size, amount):
    values = np.arange(1.0, size + 1)
    made = steelyard.prune({"fc.weight": values[None]}, amount, by="layer")
    theirs = torch_prune.L1Unstructured.apply(torch.nn.Linear(size, 1), "weight", amount)
    expected = theirs.compute_mask(torch.tensor(values), torch.ones(size))
    assert (made["fc.weight"].numpy() != 0).sum() == expected.sum()


@settings(max_examples=30, deadline=None)
@given(
    arrays_of.arrays(np.float32, (3, 7), elements=st.floats(-2, 2, width=16)),
    st.floats(0, 1),
    st.sampled_from(["global", "layer"]),
)
def test_pruning_twice_is_pruning_once(values, amount, by):
    once = steelyard.prune({"a.weight": values, "b.weight": values[:2]}, amount, by=by)
    twice = steelyard.prune(once, amount, by=by)
    for name, weight in once.items():
        np.testing.assert_array_equal(weight.numpy(), twice[name].numpy())
    gone = sum(int((weight.numpy() == 0).sum()) for weight in once.values())
    groups = [21, 14] if by == "layer" else [35]
    assert gone >= sum(round(amount * size) for size in groups)


def test_zeros_go_first_and_equal_elements_in_row_major_order():
    values = np.array([[1.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]])
    made = steelyard.prune({"fc.weight": values}, 0.5)
    assert made["fc.weight"].numpy().tolist() == [[0, 0, 0, 1], [1, 1, 1, 0]]


def test_parts_of_a_result_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr(sizes, "EDIT_BLOCK", 5)
    values = np.round(np.random.default_rng(0).standard_normal((6, 8)), 1)
    for options in ({"amount": 0.5}, {"pattern": "2:4"}, {"amount": 0.5, "by": "out"}, {"amount": 0.5, "by": "in"}):
        weight = steelyard.prune({"fc.weight": values}, **options)["fc.weight"]
        whole = weight.numpy().reshape(-1)
        parts = [weight.read(start, min(start + 7, 48)) for start in range(0, 48, 7)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_nan_stays():
    made = steelyard.prune({"fc.weight": np.array([[np.nan, 1.0, np.inf, 2.0]])}, 0.5)
    np.testing.assert_array_equal(made["fc.weight"].numpy(), [[np.nan, 0, np.inf, 0]])


@pytest.mark.parametrize(("pattern", "kept", "group"), [("2:4", 2, 4), ("4:8", 4, 8)])
@pytest.mark.parametrize(("name", "axis"), [("fc.weight", 1), ("fc/kernel", 0)])
def test_a_pattern_keeps_the_largest_of_each_group_along_the_inputs(pattern, kept, group, name, axis):
    values = np.random.default_rng(0).standard_normal((16, 8)).astype("float32")
    source = steelyard.Weights.from_arrays({name: values}, axes={name: "out in" if axis else "in out"})
    turned = np.moveaxis(steelyard.prune(source, pattern=pattern)[name].numpy(), axis, -1).reshape(-1, group)
    before = np.moveaxis(values, axis, -1).reshape(-1, group)
    largest = np.sort(np.abs(before))
    largest[:, : group - kept] = 0
    np.testing.assert_array_equal(np.sort(np.abs(turned)), largest)
    assert ((turned == before) | (turned == 0)).all()


def test_scores_are_arrays_or_a_function_and_count_by_their_size():
    values = np.ones((2, 3))
    score = np.array([[1.0, -9.0, 2.0], [-8.0, 0.5, 7.0]])
    expected = [[0, 1, 0], [1, 0, 1]]
    for given_ in (score, {"fc.weight": score}, lambda weight: score):
        assert steelyard.prune({"fc.weight": values}, 0.5, score=given_)["fc.weight"].numpy().tolist() == expected
    with pytest.raises(ShapeError, match=r"scores of fc.weight have shape \[2\], not \[2, 3\]"):
        steelyard.prune({"fc.weight": values}, 0.5, score=np.ones(2))


def test_the_facts_have_the_zeros_and_the_sizes_and_masks_name_the_kept(tmp_path):
    made = steelyard.prune(net(), 0.8)
    facts = made.meta["pruning"]
    assert (facts["zeros"], facts["elements"], facts["weights"]) == (80, 100, ["0.weight", "2.weight"])
    # 20 values with their columns, and the beginnings of 10 + 1 and 4 + 1 rows; 14 biases
    assert facts["bytes"]["dense"] == 4 * 114
    assert facts["bytes"]["csr"] == 20 * 8 + 4 * (11 + 5) + 4 * 14
    assert "80.0% of 100 elements in 2 weights are zero" in str(made)
    assert "the file stays as large, 456 bytes" in str(made)
    steelyard.save(made, tmp_path / "net.safetensors")
    for source in (made, tmp_path / "net.safetensors"):
        masks = steelyard.masks(source)
        assert list(masks) == ["0.weight", "2.weight"]
        np.testing.assert_array_equal(masks["0.weight"].numpy(), made["0.weight"].numpy() != 0)


def test_tied_kernels_are_pruned_once_and_stay_tied():
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    made = steelyard.prune(model, 0.5)
    assert made["b.weight"].tied == "a.weight"
    assert made.meta["pruning"]["elements"] == 9
    np.testing.assert_array_equal(made["b.weight"].numpy(), made["a.weight"].numpy())


def test_what_cannot_be_pruned_is_refused_by_name():
    source = {"fc.weight": np.ones((2, 6))}
    with pytest.raises(ShapeError, match="amount is 80"):
        steelyard.prune(source, 80)
    with pytest.raises(ShapeError, match=r"fc\.weight has 6 inputs, which are not a multiple of 4"):
        steelyard.prune(source, pattern="2:4")
    with pytest.raises(ShapeError, match="pattern is '1:2'"):
        steelyard.prune(source, pattern="1:2")
    with pytest.raises(ShapeError, match="by is 'row'"):
        steelyard.prune(source, 0.5, by="row")
    with pytest.raises(ShapeError, match="one of l1, l2, linf"):
        steelyard.prune(source, 0.5, score="l2")


@pytest.mark.parametrize(("by", "dim"), [("out", 0), ("in", 1)])
@pytest.mark.parametrize(("score", "norm"), [("l1", 1), ("l2", 2), ("linf", float("inf"))])
def test_whole_rows_and_columns_are_those_of_torch(by, dim, score, norm):
    layer = net()[0]
    made = steelyard.prune(layer, 0.3, by=by, score=score).arrays()
    theirs = torch_prune.ln_structured(layer, "weight", amount=0.3, n=norm, dim=dim)
    np.testing.assert_array_equal(made["weight"], theirs.weight.detach().numpy())


@pytest.mark.shared
@pytest.mark.parametrize("case", CASES)
def test_golden(case):
    meta = json.loads((GOLDEN / case / "meta.json").read_text())
    inputs, expected = (dict(np.load(GOLDEN / case / f"{part}.npz")) for part in ("inputs", "expected"))
    scores = inputs.pop("scores", "magnitude")
    if "pattern" in meta:
        options = {"pattern": meta["pattern"]}
    elif "norm" in meta:
        options = {"amount": meta["amount"], "by": ("out", "in")[meta["dim"]]}
        scores = f"l{meta['norm']}"
    else:
        shares = meta["amount"] if isinstance(meta["amount"], list) else [meta["amount"]]
        # torch takes each share of what is left, here it is that of all elements
        options = {"amount": 1 - np.prod([1 - share for share in shares]), "by": meta["by"]}
    made = steelyard.prune(inputs, select="*", score=scores, **options)
    for name in inputs:
        if case in KEPT_BY_ACCIDENT:
            assert (made[name].numpy() != 0).sum() == (expected[name] != 0).sum()
        else:
            np.testing.assert_array_equal(made[name].numpy(), expected[name])

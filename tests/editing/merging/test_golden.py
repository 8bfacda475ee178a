"""Merges are those of mergekit and PEFT: their own outputs on small nets, in files that are not part of the project."""

import json

import ml_dtypes
import numpy as np
import pytest
from carried import SHARED

import steelyard
from steelyard.errors import ShapeError

GOLDEN = SHARED / "editing" / "golden"
METHODS = ("linear", "slerp", "nuslerp", "task_arithmetic", "ties", "dare_linear", "dare_ties", "breadcrumbs", "breadcrumbs_ties")
METHODS = (*METHODS, "model_stock", "passthrough")
EXACT = ("task_arithmetic", "ties", "breadcrumbs", "breadcrumbs_ties", "passthrough")
BY_ACCIDENT = ("merge_ties_bf16", "merge_ties_equal_magnitudes")
"""Cases with equal magnitudes: which of them are kept is the choice of a sort that is not stable."""
WORDS = {"weight": "weights", "lambda": "scale", "scale": "scale", "density": "density", "gamma": "gamma", "t": "t"}


def cases(prefix):
    return sorted(path.parent for path in GOLDEN.glob(f"{prefix}_*/meta.json"))


def arrays(path, dtypes):
    with np.load(path) as file:
        return {key: file[key].view(ml_dtypes.bfloat16) if dtypes.get(key) == "bfloat16" else file[key] for key in file.files}


def meta_of(case):
    return json.loads((case / "meta.json").read_text())


def models_of(inputs, order, prefix=""):
    named = {model: {} for model in order}
    for key, array in inputs.items():
        model, _, name = key.removeprefix(prefix).partition("/")
        if key.startswith(prefix) and model in named:
            named[model][name] = array
    return named


def parameters(meta, others):
    """The parameters of mergekit by the names that they have here."""
    found = meta["parameters"]
    given = {WORDS[key]: value for key, value in found.items() if key in WORDS}
    given = {key: [value[other] for other in others] if isinstance(value, dict) else value for key, value in given.items()}
    if "normalize" in found:
        given["divide"] = "weights" if found["normalize"] else False
    if "rescale" in found:
        given["rescale"] = "norm" if found["rescale"] else False
    if not found.get("nuslerp_flatten", True):
        given["along"] = "column" if found.get("nuslerp_row_wise") else "row"
    if found.get("filter_wise"):
        given["along"] = "row"
    return given


def tolerance(meta, expected):
    """What the elements of a merged weight may differ by."""
    finite = np.abs(expected[np.isfinite(expected)]).astype(np.float64)
    if (
        expected.dtype == ml_dtypes.bfloat16 and meta["method"] != "linear"
    ):  # mergekit rounds after each step: an ulp of the largest
        return np.ldexp(1.0, np.frexp(finite.max())[1] - 8)
    if meta["method"] in EXACT and not meta["parameters"].get("rescale"):
        return 0
    if meta["method"] == "linear" and not isinstance(meta["parameters"].get("weight"), dict):
        return 0
    return (2e-6 if meta["parameters"].get("filter_wise") else 5e-7) * finite.max(initial=0)


@pytest.mark.shared
@pytest.mark.parametrize("case", [c for c in cases("merge") if meta_of(c)["method"] in METHODS], ids=lambda case: case.name)
def test_a_merge_is_that_of_mergekit(case):
    meta = meta_of(case)
    inputs = arrays(case / "inputs.npz", meta.get("inputs_dtypes", {}))
    models = models_of(inputs, meta["order"])
    base = meta["base"]
    others = [name for name in meta["order"] if name != base]
    given = parameters(meta, others)
    masks = models_of(inputs, others, "mask:")
    if any(masks.values()):
        given["masks"] = [masks[name] for name in others]
    if "out_dtype=torch." in meta["call"]:
        given["dtype"] = meta["call"].split("out_dtype=torch.")[1].rstrip(")")
    elif "dtype=torch." in meta["call"]:
        given["dtype"] = meta["call"].split("dtype=torch.")[1].split(",")[0]
    sources = [models[base] if base else None, *(models[name] for name in others)]
    if meta["raises"] and "num_batches" not in meta["raises"] and "integer" not in meta["raises"].lower():
        with pytest.raises(ShapeError):
            steelyard.merge(*sources, method=meta["method"], **given)
        return
    merged = steelyard.merge(*sources, method=meta["method"], **given)
    if meta["raises"]:  # integers that differ, which are those of the first here, with a note
        assert merged.meta["notes"]
        return
    expected = arrays(case / "expected.npz", meta.get("expected_dtypes", {}))
    assert list(expected) == list(merged)
    if meta["id"] in BY_ACCIDENT:
        return
    for name, array in expected.items():
        made = merged[name].numpy()
        assert made.dtype == array.dtype, name
        one, other = made.astype(np.float64), array.astype(np.float64)
        finite = np.isfinite(other)
        np.testing.assert_array_equal(one[~finite], other[~finite])
        assert (np.abs(one[finite] - other[finite]) <= tolerance(meta, array)).all(), name


PEFT = {
    "peft_ties_total": {"method": "ties", "majority": "total", "divide": "count"},
    "peft_ties_frequency": {"method": "ties", "majority": "frequency", "divide": "count"},
    "peft_magnitude_prune": {"method": "breadcrumbs", "gamma": 0.0},
    "peft_dare_linear": {"method": "dare", "rescale": "density"},
    "peft_dare_ties_total": {"method": "dare_ties", "rescale": "density", "majority": "total", "divide": "count"},
    "peft_dare_ties_frequency": {"method": "dare_ties", "rescale": "density", "majority": "frequency", "divide": "count"},
    "peft_dare_ties": {"method": "dare_ties", "rescale": "density", "divide": "count"},
    "peft_task_arithmetic": {"method": "task"},
}


@pytest.mark.shared
@pytest.mark.parametrize("case", cases("peft"), ids=lambda case: case.name)
def test_a_merge_of_changes_is_that_of_peft(case):
    meta = meta_of(case)
    inputs = arrays(case / "inputs.npz", {})
    deltas = [{"w": inputs[f"delta{nth}"]} for nth in range(len(meta["weights"]))]
    given = dict(PEFT[case.name], weights=meta["weights"], density=meta["density"])
    if "mask0" in inputs:
        given["masks"] = [{"w": inputs[f"mask{nth}"]} for nth in range(len(deltas))]
    merged = steelyard.merge({"w": np.zeros_like(inputs["delta0"])}, *deltas, **given)
    expected = arrays(case / "expected.npz", {})["out"]
    np.testing.assert_allclose(merged["w"].numpy(), expected, rtol=0, atol=5e-7 * np.abs(expected).max())

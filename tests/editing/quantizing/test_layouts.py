"""Every layout gives its numbers back, in memory and from a file, and keeps what is not quantised."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open
from torch import nn

import steelyard
from steelyard.errors import LossyError, ShapeError

WAYS = {
    "int8": ("int8", {}),
    "int8 affine": ("int8", {"scheme": "affine"}),
    "int8 a weight": ("int8", {"axis": None}),
    "int8 mse": ("int8", {"calibrate": "mse"}),
    "int4 groups": ("int4", {"group": 32}),
    "int4 percentile": ("int4", {"calibrate": "percentile"}),
    "float8": ("float8_e4m3fn", {}),
    "mxfp4": ("mxfp4", {}),
    "nf4": ("nf4", {}),
    "fp4": ("fp4", {}),
    "nf4 double": ("nf4", {"double_quant": True}),
    "ct int8": ("int8", {"like": "compressed-tensors"}),
    "ct int4": ("int4", {"like": "compressed-tensors", "group": 32}),
    "ct int4 affine": ("int4", {"like": "compressed-tensors", "scheme": "affine"}),
    "ct int8 a weight": ("int8", {"like": "compressed-tensors", "axis": None}),
    "ct float8": ("float8_e4m3fn", {"like": "compressed-tensors"}),
    "ct mxfp4": ("mxfp4", {"like": "compressed-tensors"}),
    "torchao int8": ("int8", {"like": "torchao"}),
    "torchao int4": ("int4", {"like": "torchao", "group": 32}),
    "torchao float8": ("float8_e4m3fn", {"like": "torchao"}),
    "bitsandbytes int8": ("int8", {"like": "bitsandbytes"}),
}


def net(dtype="float32"):
    rng = np.random.default_rng(3)
    kernel, head = rng.normal(size=(40, 64)), rng.normal(size=(5, 64)) / 8
    kernel[3] = 0
    plain = {"fc.weight": kernel, "fc.bias": rng.normal(size=40), "head.weight": head, "norm.weight": np.ones(64)}
    return steelyard.weights(plain).astype(dtype)


def step(kernel, kind, group=64):
    """Return an upper bound of the error of each number: half a step of its group, and what rounding adds."""
    width = {"int8": 127, "int4": 7, "float8_e4m3fn": 28, "mxfp4": 3, "nf4": 6.5, "fp4": 5.9}[kind]
    largest = np.abs(kernel.reshape(-1, group)).max(axis=1)
    return np.repeat(largest / width, group).reshape(kernel.shape)


@pytest.mark.parametrize("way", WAYS)
def test_numbers_come_back_within_a_step_and_are_the_same_from_a_folder(way, tmp_path):
    kind, given = WAYS[way]
    plain = net()
    made = steelyard.quantize(plain, kind, **given)
    numbers = made.effective()
    assert list(numbers) == list(plain)
    for name in ("fc.weight", "head.weight"):
        error = np.abs(numbers[name].numpy().astype("f8") - plain[name].numpy())
        bound = step(plain[name].numpy(), kind, 32 if kind == "mxfp4" else 64)
        bound = np.full_like(bound, bound.max()) if given.get("axis", "") is None or "calibrate" in given else bound
        # the top of a range that is as wide as its codes on the negative side is cut
        assert (error <= bound * (4 if "calibrate" in given else 1.01)).all()
    assert not numbers["fc.weight"].numpy()[3].any()
    assert np.array_equal(numbers["fc.bias"].numpy(), plain["fc.bias"].numpy())
    steelyard.save(made, f"{tmp_path}/made/")
    again = steelyard.weights(tmp_path / "made")
    for name, weight in again.effective().items():
        assert np.array_equal(weight.numpy(), numbers[name].numpy()), name
    assert steelyard.quantize(again, kind, **given) is again
    assert (tmp_path / "made" / "config.json").exists() == bool(given.get("like") or kind in ("nf4", "fp4"))


@pytest.mark.parametrize("way", ["int8", "int4 groups", "ct int4", "nf4", "torchao int8"])
def test_blocks_of_any_length_have_the_same_codes(way):
    kind, given = WAYS[way]
    made = steelyard.quantize(net("bfloat16"), kind, **given)
    for weight in (*made.values(), *made.effective().values()):
        whole = weight.numpy().reshape(-1)
        assert b"".join(block.tobytes() for block in weight.blocks(37)) == whole.tobytes(), weight.name


def test_dequantized_weights_are_plain_and_can_be_quantised_another_way(tmp_path):
    made = steelyard.quantize(net(), "int4", like="compressed-tensors", group=32)
    plain = steelyard.dequantize(made)
    assert list(plain) == list(net())
    assert "quantized" not in plain.meta
    with pytest.raises(ShapeError, match=r"2 weights are packed by compressed-tensors 4 bits already; pass steelyard.dequantize"):
        steelyard.quantize(made, "int8")
    steelyard.save(plain, f"{tmp_path}/plain/")
    assert not (tmp_path / "plain" / "config.json").exists()
    assert list(steelyard.quantize(plain, "int8"))[:2] == ["fc.weight.codes", "fc.weight.scale"]


def test_a_folder_has_the_config_of_the_model_with_that_of_the_quantiser(tmp_path):
    steelyard.save(net(), f"{tmp_path}/before/")
    (tmp_path / "before" / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": {"old": 1}}))
    steelyard.save(
        steelyard.quantize(tmp_path / "before", "int4", like="compressed-tensors", group=32, skip="head*"), tmp_path / "before"
    )
    config = json.loads((tmp_path / "before" / "config.json").read_text())
    assert config["model_type"] == "llama"
    said = config["quantization_config"]
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "group_size": 32, "strategy": "group", "dynamic": False}
    assert (said["format"], said["ignore"]) == ("pack-quantized", ["head"])
    assert said["config_groups"]["group_0"]["weights"] == weights
    assert steelyard.weights(tmp_path / "before")["fc.weight_packed"].shape == (40, 8)


def test_the_config_of_transformers_is_one_that_its_own_classes_take():
    from transformers.utils.quantization_config import BitsAndBytesConfig

    made = steelyard.quantize(net("bfloat16"), "nf4", double_quant=True, skip=["head*"])
    config = BitsAndBytesConfig.from_dict(made.meta["quantization_config"])
    assert (config.load_in_4bit, config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant) == (True, "nf4", True)
    assert (config.bnb_4bit_compute_dtype, config.llm_int8_skip_modules) == (torch.bfloat16, ["head"])


def test_scales_are_along_the_outputs_whatever_the_order_of_axes():
    rng = np.random.default_rng(2)
    plain = {"conv.kernel": rng.normal(size=(3, 3, 3, 4)).astype("f4"), "fc.kernel": rng.normal(size=(24, 5)).astype("f4")}
    model = steelyard.Weights.from_arrays(plain, axes={"conv.kernel": "kh kw in out", "fc.kernel": "in out"})
    made = steelyard.quantize(model, "int8")
    scales = {name: weight.shape for name, weight in made.items() if name.endswith(".scale")}
    assert list(scales.values()) == [(1, 1, 1, 4), (1, 5)]
    for name, weight in made.effective().items():
        bound = np.abs(plain[name]).max(axis=tuple(range(plain[name].ndim - 1))) / 254 * 1.001
        assert (np.abs(plain[name] - weight.numpy()) <= bound).all(), name
        assert weight.axes == model[name].axes
    groups = steelyard.quantize({"fc.kernel": plain["fc.kernel"]}, "int4", group=8)
    assert groups["fc.kernel.scale"].shape == (3, 5)


def test_the_widest_of_each_group_decides_where_several_axes_are_inside_a_cell():
    model = nn.Conv2d(64, 6, 3)
    made = steelyard.quantize(model, "int4", group=32)
    assert made["weight.scale"].shape == (6, 2, 1, 1)
    kernel = model.weight.detach().numpy().reshape(6, 2, 32, 9)
    np.testing.assert_allclose(made["weight.scale"].numpy().reshape(6, 2), np.abs(kernel).max(axis=(2, 3)) / 7, rtol=1e-6)


def test_tied_weights_are_quantised_once_and_stay_tied():
    one = nn.Linear(32, 32, bias=False)
    model = nn.ModuleDict({"a": one, "b": one})
    made = steelyard.quantize(model, "int8")
    assert made["b.weight.codes"].tied == "a.weight.codes"
    assert made.nbytes == 32 * 32 + 32 * 4
    assert made.effective()["b.weight"].tied == "a.weight"
    embedding = nn.Embedding(32, 32)
    head = nn.Linear(32, 32, bias=False)
    head.weight = embedding.weight
    net = nn.ModuleDict({"embedding": embedding, "fc": nn.Linear(32, 32), "head": head})
    assert steelyard.quantize(net, "int8").meta["quantized"]["left"] == {"head.weight": "tied to embedding.weight"}


def test_a_live_net_that_was_trained_on_is_refused_as_it_is_in_arithmetic():
    model = nn.Linear(32, 8)
    made = steelyard.quantize(model, "int8")
    with torch.no_grad():
        model.weight += 1
    with pytest.raises(ShapeError, match="weight has changed since the result"):
        made["weight.codes"].numpy()


def test_mse_and_percentile_ranges_are_narrower_than_the_largest_number():
    plain = {"fc.weight": np.random.default_rng(0).normal(size=(4, 4096)).astype("float32")}
    plain["fc.weight"][:, 0] = 40
    errors = {}
    for way in ("max", "mse", "percentile"):
        numbers = steelyard.quantize(plain, "int4", calibrate=way).effective()["fc.weight"].numpy()
        errors[way] = np.square(numbers - plain["fc.weight"])
    assert errors["mse"].sum() < errors["max"].sum()
    assert errors["percentile"][:, 1:].sum() < errors["max"][:, 1:].sum()


@settings(max_examples=30, deadline=None)
@given(
    kernel=arrays("float32", (4, 64), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    way=st.sampled_from(["int8", "int8 affine", "int4 groups", "float8", "mxfp4", "nf4", "ct int8", "ct int4 affine"]),
)
def test_any_finite_numbers_have_finite_codes_and_quantising_twice_is_quantising_once(kernel, way):
    kind, given = WAYS[way]
    made = steelyard.quantize({"fc.weight": kernel}, kind, **given)
    once = made.effective()["fc.weight"].numpy().astype("float32")
    assert np.isfinite(once).all()
    assert (once[~kernel.any(axis=1)] == 0).all()
    assert steelyard.quantize(made, kind, **given) is made
    if way in ("int8", "int4 groups", "mxfp4"):
        twice = steelyard.quantize({"fc.weight": once}, kind, **given).effective()["fc.weight"].numpy()
        assert np.array_equal(once, twice)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_since_no_code_is_for_them(bad):
    made = steelyard.quantize({"fc.weight": np.array([[1.0, bad]])}, "int8")
    with pytest.raises(LossyError, match=r"fc.weight holds NaN or Inf"):
        made["fc.weight.codes"].numpy()


def test_a_part_whose_name_another_weight_has_is_refused():
    plain = {"fc.weight": np.ones((2, 2), "float32"), "fc.SCB": np.ones(2, "float32"), "fc.bias": np.ones(2, "float32")}
    with pytest.raises(ShapeError, match=r"would be called fc.SCB, as another weight is"):
        steelyard.quantize(plain, "int8", like="bitsandbytes")


def test_shards_keep_the_record_and_what_each_tensor_is(tmp_path):
    for like in ("compressed-tensors", "torchao"):
        made = steelyard.quantize(net(), "int8", like=like)
        steelyard.save(made, f"{tmp_path}/{like}/", shard_size=2000)
        again = steelyard.weights(tmp_path / like)
        assert len(again.meta["shards"]) > 1
        assert steelyard.quantize(again, "int8", like=like) is again
        assert np.array_equal(again.effective()["fc.weight"].numpy(), made.effective()["fc.weight"].numpy())
    with safe_open(min((tmp_path / "torchao").glob("*.safetensors")), "np") as shard:
        assert json.loads(shard.metadata()["fc.weight"])["_type"] == "Int8Tensor"


def test_codes_of_fp4_are_those_of_the_decisions_in_bitsandbytes():
    ends = (0.00260417, 0.0859375, 0.20833333, 0.29166667, 0.4166667, 0.583333, 0.8333333)
    order = (0b000, 0b001, 0b110, 0b111, 0b100, 0b101, 0b010, 0b011)
    row = np.concatenate([[1.0], np.random.default_rng(0).uniform(-1, 1, 63)]).astype("float32")
    packed = steelyard.quantize({"fc.weight": row[None]}, "fp4")["fc.weight"].numpy().reshape(-1)
    codes = np.stack([packed >> 4, packed & 15], axis=1).reshape(-1)
    assert codes.tolist() == [order[np.searchsorted(ends, abs(number))] + 8 * (number < 0) for number in row]

"""Tensors of torchao: what the golden cases do not have. No library is needed: pickles and metadata are written here."""

import json
import sys
import types

import numpy as np
import pytest
import torch

import steelyard
from steelyard.core.readers import from_array
from steelyard.core.weights import Weights

CODES = np.arange(-12, 12, dtype="int8").reshape(2, 12)
SCALES = np.array([[0.5, 2.0, 1.0], [4.0, 0.25, 8.0]], "float32")


def said(kind, **facts):
    """Return the metadata that torchao writes for a tensor."""
    return json.dumps({"_type": kind, "_data": {"dtype": {"_type": "torch.dtype", "_data": "float32"}, **facts}})


def in_safetensors(tensors, text, folder):
    """Return the effective weights of a safetensors file with these tensors of `fc.weight`."""
    weights = Weights([from_array(f"fc._weight_{word}", np.asarray(array)) for word, array in tensors.items()])
    steelyard.save(weights, folder / "plain.safetensors")
    whole = (folder / "plain.safetensors").read_bytes()
    length = int.from_bytes(whole[:8], "little")
    head = json.loads(whole[8 : 8 + length])
    head["__metadata__"] = {"fc.weight": text}
    header = json.dumps(head).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + whole[8 + length :])
    return steelyard.effective(folder / "model.safetensors")


def test_blocks_scales_and_zero_points(tmp_path):
    tensors = {"qdata": CODES, "scale": SCALES, "zero_point": np.array([[1, 2, 3], [4, 5, 6]], "int8")}
    found = in_safetensors(tensors, said("Int8Tensor", block_size=[1, 4]), tmp_path)
    zeros, scales = (np.repeat(tensors[word], 4, axis=1).astype("float32") for word in ("zero_point", "scale"))
    assert list(found) == ["fc.weight"]
    assert np.array_equal(found["fc.weight"].numpy(), (CODES - zeros) * scales)
    assert found["fc.weight"].derivation.scheme == "torchao Int8Tensor"


@pytest.mark.parametrize("block", [[2, 12], [-1, -1]])
def test_one_scale_for_all(block, tmp_path):
    tensors = {"qdata": CODES, "scale": np.float32([[0.5]])}
    found = in_safetensors(tensors, said("Int8Tensor", block_size=block), tmp_path)
    assert np.array_equal(found["fc.weight"].numpy(), CODES * np.float32(0.5))


def test_microscaling_has_a_power_of_two_for_each_32(tmp_path):
    import ml_dtypes

    tensors = {"qdata": np.full((2, 32), 0x21, "uint8"), "scale": np.array([[1, 4], [0.5, 2]]).astype(ml_dtypes.float8_e8m0fnu)}
    found = in_safetensors(tensors, said("MXTensor", block_size=32, is_swizzled_scales=False), tmp_path)["fc.weight"].numpy()
    assert found.shape == (2, 64)
    assert found[:, [0, 1, 32, 33]].tolist() == [[0.5, 1.0, 2.0, 4.0], [0.25, 0.5, 1.0, 2.0]]


HOSTILE = {
    "no scale": ({"qdata": CODES}, said("Int8Tensor", block_size=[1, 4]), "its scale is missing"),
    "blocks": ({"qdata": CODES, "scale": SCALES}, said("Int8Tensor", block_size=[1, 5]), "blocks (1, 5) of a weight (2, 12)"),
    "zero blocks": ({"qdata": CODES, "scale": SCALES}, said("Int8Tensor", block_size=[0, 4]), "do not fit a weight"),
    "scales": ({"qdata": CODES, "scale": SCALES[:1]}, said("Int8Tensor", block_size=[1, 4]), "need scales (2, 3), not (1, 3)"),
    "words": ({"qdata": CODES, "scale": SCALES}, said("Int8Tensor", block_size=["x"], shape=[3, 3]), "the file says (3, 3)"),
    "type": ({"qdata": CODES.astype("int32"), "scale": SCALES}, said("Int8Tensor"), "its codes are int32"),
    "tiles": ({"qdata": CODES, "scale_and_zero": SCALES}, said("Int4TilePackedTo4dTensor"), "the order of a kernel"),
    "four": ({"qdata": CODES, "scale": SCALES}, said("Int4Tensor", block_size=[1, 4]), "Int4Tensor has its numbers in"),
    "swizzled": ({"qdata": CODES, "scale": SCALES}, said("MXTensor", is_swizzled_scales=True), "its scales have the order"),
    "no class": ({"qdata": CODES.view("uint8"), "scale": SCALES}, "[" * 9, "does not name its class"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_does_not_fit_is_refused_by_name(kind, tmp_path):
    tensors, text, reason = HOSTILE[kind]
    found = in_safetensors(tensors, text, tmp_path)
    assert list(found) == ["fc.weight"]
    assert reason in found["fc.weight"].unreadable


def test_without_a_class_the_blocks_are_assumed(tmp_path):
    found = in_safetensors({"qdata": CODES, "scale": SCALES}, "", tmp_path)["fc.weight"]
    assert np.array_equal(found.numpy(), CODES * np.repeat(SCALES, 4, axis=1))
    assert "its blocks divide its axes" in found.derivation.assumed[0]


class Rebuilt:
    """Pickles as the call that rebuilds a tensor of a subclass of torchao."""

    def __init__(self, module, kind, shape, dtype=torch.float32, **held):
        self.made = module, kind, shape, dtype, held

    def __reduce__(self):
        module, kind, shape, dtype, held = self.made
        for name in ("torchao", module):
            sys.modules.setdefault(name, types.ModuleType(name))
        cls = getattr(sys.modules[module], kind, None) or type(kind, (), {"__module__": module})
        setattr(sys.modules[module], kind, cls)
        arguments = (cls, dtype, torch.Size(shape), (1,), 0, torch.strided, "cpu", False)
        return torch._tensor._rebuild_from_type_v2, (torch._utils._rebuild_wrapper_subclass, cls, arguments, held)


@pytest.fixture
def no_torchao():
    """Forget the modules that stand for those of torchao while a pickle is written."""
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchao"]:
        del sys.modules[name]


@pytest.mark.usefixtures("no_torchao")
class TestPickles:
    def test_every_number_of_bits_in_shards(self, tmp_path):
        drawn = np.random.default_rng(0)
        for bits in range(1, 8):
            codes = drawn.integers(0, 1 << bits, (3, 16)).astype("uint8")
            shards, done = {}, 0
            for width in (4, 2, 1):
                if bits & width:
                    parts = np.split((codes >> done) & ((1 << width) - 1), 8 // width, axis=1)
                    packed = np.bitwise_or.reduce([part << (width * at) for at, part in enumerate(parts)])
                    shards[f"int{width}_shard"] = torch.tensor(packed)
                    done += width
            inner = Rebuilt("torchao.a", "UintxTensor", (3, 16), torch.uint8, **shards, bit_width=bits, pack_dim=-1)
            held = Rebuilt("torchao.a", "UintxAQTTensorImpl", (3, 16), int_data=inner, scale=torch.ones(3, 2) / 2)
            outer = Rebuilt("torchao.a", "AffineQuantizedTensor", (3, 16), tensor_impl=held, block_size=(1, 8))
            torch.save(
                {"fc.weight": Rebuilt("torchao.a", "LinearActivationQuantizedTensor", (3, 16), original_weight_tensor=outer)},
                tmp_path / "w.pt",
            )
            found = steelyard.effective(tmp_path / "w.pt")
            assert list(found) == ["fc.weight"]
            assert np.array_equal(found["fc.weight"].numpy(), codes / np.float32(2))

    def test_the_layouts_of_kernels_are_refused(self, tmp_path):
        held = {"packed_weight": torch.zeros(4, dtype=torch.int32), "scale_and_zero": torch.zeros(2)}
        inner = Rebuilt("torchao.b", "TensorCoreTiledAQTTensorImpl", (2, 2), **held)
        torch.save({"fc.weight": Rebuilt("torchao.b", "AffineQuantizedTensor", (2, 2), tensor_impl=inner)}, tmp_path / "w.pt")
        found = steelyard.effective(tmp_path / "w.pt")
        assert "TensorCoreTiledAQTTensorImpl has its numbers in the order of a kernel" in found["fc.weight"].unreadable

    def test_codes_of_normal_floats_in_groups_of_scales(self, tmp_path):
        table, codes = torch.linspace(-1, 1, 16), np.random.default_rng(0).integers(0, 256, 24).astype("uint8")
        held = {"quantized_scalers": torch.tensor([3, -7, 9], dtype=torch.int8), "quantization_factor": torch.tensor([4.0, 0.5])}
        held |= {"scaler_mean": torch.tensor(0.25), "quantized_data": torch.tensor(codes), "nf4": table}
        tensor = Rebuilt("torchao.c", "NF4Tensor", (6, 8), block_size=16, scaler_block_size=2, **held)
        torch.save({"fc.weight": tensor}, tmp_path / "w.pt")
        found = steelyard.effective(tmp_path / "w.pt")["fc.weight"]
        scales = np.repeat(np.float32([3 / 4, -7 / 4, 9 / 0.5]) + np.float32(0.25), 16)
        known = table.numpy()[np.stack([codes >> 4, codes & 15], 1).reshape(-1)] * scales
        assert np.array_equal(found.numpy(), known.reshape(6, 8))
        assert all(found.read(at, at + 3).tolist() == known[at : at + 3].tolist() for at in range(46))

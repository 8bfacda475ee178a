"""transformers loads what was quantised, by the library of each layout, and the net computes with `steelyard.effective`."""

import pytest
import torch
from bitsandbytes.functional import has_avx512bf16

import steelyard

NET = {
    "vocab_size": 32,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}
BFLOAT16 = 1e-2 if has_avx512bf16() else 0
"""The difference of an output of bitsandbytes in 4 bits: where a CPU computes in bfloat16, the library does."""
WAYS = {
    "compressed-tensors int8": ("int8", {}, 0),
    "compressed-tensors int4": ("int4", {"group": 32}, 0),
    "compressed-tensors float8": ("float8_e4m3fn", {}, 0),
    "compressed-tensors mxfp4": ("mxfp4", {}, 1e-2),  # the library decompresses it to bfloat16
    "bitsandbytes nf4": ("nf4", {}, BFLOAT16),
    "bitsandbytes double": ("nf4", {"double_quant": True}, BFLOAT16),
    "bitsandbytes fp4": ("fp4", {}, BFLOAT16),
    "bitsandbytes int8": ("int8", {}, 3e-2),  # the library quantises the inputs too
    "torchao int8": ("int8", {}, 2e-6),
    "torchao int4": ("int4", {"group": 32}, 2e-6),
    "torchao float8": ("float8_e4m3fn", {}, 2e-6),
}
"""The kind, the options, and the largest difference of the logits, relative to the largest."""
TOKENS = torch.arange(16)[None]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    LlamaForCausalLM(LlamaConfig(**NET)).save_pretrained(folder)
    return folder


def logits(net):
    with torch.no_grad():
        return net.eval()(TOKENS).logits


@pytest.mark.parametrize("way", WAYS)
def test_the_library_loads_it_and_computes_with_the_effective_weights(way, base, tmp_path):
    from transformers import AutoModelForCausalLM

    kind, options, tolerance = WAYS[way]
    folder = f"{tmp_path / 'quantised'}/"
    steelyard.save(steelyard.quantize(base, kind, like=way.split()[0], **options), folder)
    dtype = torch.bfloat16 if kind == "mxfp4" else torch.float32
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, device_map="cpu")
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    steelyard.weights(plain).assign({name: weight.numpy() for name, weight in steelyard.effective(folder).items()})
    wanted = logits(plain.to(dtype))
    assert (logits(loaded) - wanted).abs().max() <= tolerance * wanted.abs().max()
    live = steelyard.effective(loaded)
    for name, weight in steelyard.effective(folder).items():
        torch.testing.assert_close(live[name].to_torch().float(), weight.to_torch().float(), rtol=tolerance, atol=1e-7, msg=name)


def test_transformers_does_not_load_packed_zero_points(base, tmp_path):
    from transformers import AutoModelForCausalLM

    folder = f"{tmp_path / 'quantised'}/"
    steelyard.save(steelyard.quantize(base, "int4", like="compressed-tensors", scheme="affine", group=32), folder)
    with pytest.raises(RuntimeError, match="mismatch"):
        AutoModelForCausalLM.from_pretrained(folder, device_map="cpu")

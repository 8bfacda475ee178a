"""Whether the libraries load what Steelyard quantised, and compute as it says: python benchmarks/quantised_loads.py

A small Llama is quantised in each way, saved as a folder, and loaded by transformers, which calls the library. Its logits are
compared with those of the plain net whose weights are `steelyard.effective(folder)`. Needs transformers, accelerate,
compressed-tensors, bitsandbytes and torchao beside the environment of the tests. The table in docs/editing.md is from here.
"""

import os
import tempfile
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")

import torch  # noqa: E402
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM  # noqa: E402

import steelyard  # noqa: E402

NET = LlamaConfig(
    vocab_size=128,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    tie_word_embeddings=False,
)
WAYS = [
    ("int8", {"like": "compressed-tensors"}),
    ("int8", {"like": "compressed-tensors", "scheme": "affine"}),
    ("int4", {"like": "compressed-tensors", "group": 32}),
    ("float8_e4m3fn", {"like": "compressed-tensors"}),
    ("mxfp4", {"like": "compressed-tensors"}),
    ("nf4", {"like": "bitsandbytes"}),
    ("nf4", {"like": "bitsandbytes", "double_quant": True}),
    ("fp4", {"like": "bitsandbytes"}),
    ("int8", {"like": "bitsandbytes"}),
    ("int8", {"like": "torchao"}),
    ("int4", {"like": "torchao", "group": 32}),
    ("float8_e4m3fn", {"like": "torchao"}),
]
TOKENS = torch.arange(16)[None]


def logits(net):
    with torch.no_grad():
        return net.eval()(TOKENS).logits


def difference(base, folder, kind, options):
    """Return the largest difference between the logits of the loaded net and of the dequantised one, relative to the largest."""
    steelyard.save(steelyard.quantize(base, kind, **options), f"{folder}/")
    plain = LlamaForCausalLM(NET)
    steelyard.weights(plain).assign({name: weight.numpy() for name, weight in steelyard.effective(folder).items()})
    dtype = torch.bfloat16 if kind == "mxfp4" else torch.float32  # the library decompresses mxfp4 to bfloat16
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, device_map="cpu")
    wanted = logits(plain.to(dtype))
    return float((logits(loaded) - wanted).abs().max() / wanted.abs().max())


def main():
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        base = Path(place, "base")
        LlamaForCausalLM(NET).save_pretrained(base)
        for at, (kind, options) in enumerate(WAYS):
            try:
                answer = f"loaded, differs by {difference(base, Path(place, str(at)), kind, options):.0e}"
            except Exception as error:  # noqa: BLE001 - whatever stops a library from loading it is the answer
                answer = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            print(f"{kind:14} {options}: {answer}", flush=True)


if __name__ == "__main__":
    main()

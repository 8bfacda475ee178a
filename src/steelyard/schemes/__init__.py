"""Schemes by which nets store other numbers than they compute with: one module for each, which finds its pieces by name.

A scheme is a module with `derive` (`core.protocols.Scheme`). It is imported only for nets with a weight whose last word is in
this table, which a test keeps up to date. Plug-ins register theirs under the entry point `steelyard.schemes`.
"""

from steelyard.codecs.peft import PARTS

LEAVES = {
    "unmerged": ("weight", "default", "lora_a", "oft_blocks", "diff", *PARTS),
    "flax_parts": ("scale", "u", "lora_a", "*',)", "*')"),
    "reparametrised": ("*_mask", "*_g", "*_u", "*_orig", "original", "original0", "*_v"),
    "named": (
        *("codes", "indices", "Qidxs", "q_weight", "trellis", "dense_weights", "B", "qweight"),
        *("weight_scales", "bitmask", "meta"),
    ),
    "compressed_tensors": ("weight_packed", "weight_scale"),
    "modelopt": ("weight_scale_2",),
    "mxfp4": ("*_blocks",),
    "steelyard": ("codes",),
    "fake_quantised": ("fake_quant_enabled",),
    "torch_quantised": ("zero_point", "zero_points", "0", "1", "_packed_weight"),
    "torchao": ("qdata", "*_qdata", "*:qdata", "int_data", "float8_data", "packed_weight", "*_shard", "quantized_data"),
    "bitsandbytes": ("bitsandbytes__nf4", "bitsandbytes__fp4", "absmax", "SCB"),
    "awq": ("qweight",),
    "gptq": ("qweight",),
    "mlx": ("scales",),
    "hqq": ("W_q",),
    "quanto": ("_data",),
    "fp8": ("*_scale", "*_scale_inv", "scale", "scale_weight"),
    "lone": ("weight", "gate_up_proj", "down_proj"),
}
"""The last words of names that a scheme's nets have, or after "*" the ends of these; the schemes are asked in this order."""

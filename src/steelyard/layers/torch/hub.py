"""The axes of the kernels of transformers' models, by the type of the model in config.json.

| model | dense layers | axes |
|---|---|---|
| GPT-2 and its relatives | `c_attn`, `c_proj`, `c_fc`, `q_attn`, of the class Conv1D | in out |
| the types of `_LINEAR`, and all other layers of GPT-2's relatives | Linear | out in |
| the same types, kernels of three and four axes | Conv1d, Conv2d | out in k, out in kh kw |
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from steelyard.core.roles import leaf_of
from steelyard.core.weight import Role
from steelyard.layers.roles import SPATIAL

if TYPE_CHECKING:
    from steelyard.core.weight import Weight

_CONV1D = frozenset(("gpt2", "openai-gpt", "imagegpt", "decision_transformer"))
_LINEAR = frozenset(
    (
        *("albert", "bert", "camembert", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta", "xlm-roberta"),
        *("bloom", "falcon", "gemma", "gemma2", "gpt_neo", "gpt_neox", "gptj", "llama", "mistral", "olmo", "olmo2", "opt"),
        *("phi", "phi3", "qwen2", "qwen3", "stablelm", "starcoder2"),
        *("bart", "marian", "mbart", "mt5", "pegasus", "t5", "whisper"),
        *("beit", "clip", "clip_text_model", "clip_vision_model", "deit", "dinov2", "siglip", "vit"),
    )
)
"""Types of models whose dense layers are all of the class Linear, and whose other kernels are those of convolutions."""
TYPES = _CONV1D | _LINEAR
_DENSE_OF_GPT2 = re.compile(r"(?:.*\.)?(?:c_attn|c_proj|c_fc|q_attn)\.weight")


def axes_of(model_type: str, weight: Weight) -> str:
    """Return the axes of a kernel of a model of this type; blank where the type does not prove them."""
    rank = len(weight.shape)
    is_kernel = weight.role is Role.KERNEL and weight.dtype.startswith(("float", "bfloat")) and leaf_of(weight.name) == "weight"
    if not is_kernel or model_type not in TYPES:
        return ""
    if rank == 2:
        return "in out" if model_type in _CONV1D and _DENSE_OF_GPT2.fullmatch(weight.name) else "out in"
    # others than PyTorch store such kernels with the inputs last, in files of the same names
    is_spatial = (rank == 4 and weight.shape[2] == weight.shape[3]) or (rank == 3 and weight.shape[2] <= weight.shape[1])
    return f"out in {SPATIAL[rank - 2]}" if is_spatial else ""

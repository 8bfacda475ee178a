"""Modules in training for quantisation (`torch.ao.nn.qat`), which round their weight to codes and back in each call.

A module that is fused with a batch norm multiplies the weight by the factors of the norm first, and divides the outputs by them
afterwards: it multiplies with round(weight * factor) / factor, and the norm follows. Source: `_ConvBnNd._forward_approximate` in
torch/ao/nn/intrinsic/qat/modules/conv_fused.py.
"""

from __future__ import annotations

import torch
from torch import nn

from steelyard.frameworks.torch.computed import in_evaluation

_ROUNDS, _SWITCH = "weight_fake_quant", "fake_quant_enabled"


def parts_of_rounded(part: nn.Module) -> tuple[str, ...]:
    """Return the names in a module of the weight that it rounds and of what rounds it; empty for any other module."""
    inner = part._modules.get(_ROUNDS)
    if inner is None or part._parameters.get("weight") is None or _SWITCH not in inner._buffers:
        return ()
    return "weight", *(f"{_ROUNDS}.{name}" for name in inner.state_dict())


def rounded(part: nn.Module) -> torch.Tensor:
    """Return the weight that the next call in evaluation mode multiplies with, computed on a copy of what rounds it."""
    rounds, weight, norm = in_evaluation(part._modules[_ROUNDS]), part._parameters["weight"], part._modules.get("bn")
    if norm is None:
        result: torch.Tensor = rounds(weight)
        return result
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    factor = factor.reshape(-1, *[1] * (weight.dim() - 1))
    divided: torch.Tensor = rounds(weight * factor) / factor
    return divided

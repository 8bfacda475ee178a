"""PyTorch: a `Sequential` of linear layers and activations, ready for inference."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from steelyard.core.dense_stack import DenseLayer, DenseStack, activation_of

_ACTIVATIONS: dict[str, Callable[..., nn.Module] | None] = {
    "linear": None,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softmax": lambda: nn.Softmax(dim=-1),
    "log_softmax": lambda: nn.LogSoftmax(dim=-1),
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "leaky_relu": nn.LeakyReLU,
    "relu6": nn.ReLU6,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "mish": nn.Mish,
    "log_sigmoid": nn.LogSigmoid,
    "hard_sigmoid": nn.Hardsigmoid,
    "hard_silu": nn.Hardswish,
    "hard_tanh": nn.Hardtanh,
    "tanh_shrink": nn.Tanhshrink,
}


def build(stack: DenseStack) -> tuple[nn.Sequential, list[DenseLayer]]:
    """Return the net in the dtype of the weights and in evaluation mode; the global random state is unchanged."""
    first: list[nn.Module] = [nn.Flatten()] if stack.flattened else []
    modules = [module for layer in stack.layers for module in _modules(layer, stack.dtype)]
    return nn.Sequential(*first, *modules).eval(), stack.layers


def _modules(layer: DenseLayer, dtype: str) -> Iterator[nn.Module]:
    width, units = layer.kernel.shape[1], layer.kernel.shape[0]
    biased = layer.bias is not None
    yield nn.utils.skip_init(nn.Linear, width, units, bias=biased, dtype=getattr(torch, dtype))
    made = activation_of(layer, _ACTIVATIONS, "torch")
    if made is not None:
        yield made(**layer.settings)

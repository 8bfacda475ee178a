"""The constants of frozen TorchScript modules and the packed weights of quantised ones, which are not in the state."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from steelyard.core.readers import Placed, from_array
from steelyard.core.weight import Refused, Weight
from steelyard.frameworks.torch.state import leaves_of
from steelyard.frameworks.torch.tensors import weight_of

_PACKED = ("_packed_params", "_packed_weight", "_packed_weight_ih", "_packed_weight_hh", "param")
"""The attributes in which the modules of `torch.ao` have packed weights."""


def constants_of(module: nn.Module) -> Iterator[Weight]:
    """List the tensors in the graph of a TorchScript module that was frozen; they can be read, but not assigned."""
    if not isinstance(module, torch.jit.ScriptModule) or not hasattr(module, "graph"):
        return
    for node in module.graph.findAllNodes("prim::Constant", recurse=True):
        output = node.output()
        if node.hasAttribute("value") and node.kindOf("value") == "t" and output.debugName().startswith("self."):
            name = output.debugName().removeprefix("self.")
            yield weight_of(name, {"": node.t("value")}, "", layer=name.rpartition(".")[0]).replace(trainable=False)


def packed_of(module: nn.Module) -> Iterator[Weight]:
    """List what the packed weights of a TorchScript module hold, by the names of its files; copies, which cannot be assigned."""
    for prefix, part in module.named_modules(remove_duplicate=False):
        for word in _PACKED if isinstance(part, torch.jit.ScriptModule) else ():
            value = getattr(part, word) if part._c.hasattr(word) else None
            if not isinstance(value, torch.ScriptObject):
                continue
            held = _of_convolution(part, value) if "Conv" in part.original_name else {word: value}
            for name, leaf in leaves_of({f"{prefix}.{key}" if prefix else key: each for key, each in held.items()}):
                yield from _listed(name, leaf)


def _of_convolution(part: torch.jit.ScriptModule, value: torch.ScriptObject) -> dict[str, object]:
    """Return weight and bias; the kernel of a convolution with one axis is packed as one with two."""
    kernel, bias = value.unpack()
    return {"weight": kernel.squeeze(-2) if "1d" in part.original_name else kernel, "bias": bias}


def _listed(name: str, leaf: object) -> Iterator[Weight]:
    layer = name.rpartition(".")[0]
    if isinstance(leaf, torch.Tensor):
        listed = weight_of(name, {"": leaf}, "", layer=layer)
        # not a reader of live memory, since the module does not hold this tensor
        read = listed.read if isinstance(listed.read, Refused) else Placed(listed.read, object())
        yield listed.replace(trainable=None, read=read)
    elif isinstance(leaf, (int, float)):
        number = np.asarray(leaf)
        number.flags.writeable = False
        yield from_array(name, number, layer=layer)

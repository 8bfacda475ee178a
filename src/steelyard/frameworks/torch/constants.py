"""The constants of frozen TorchScript modules, which are in the graph and not in the state."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from steelyard.core.weight import Weight
from steelyard.frameworks.torch.tensors import weight_of


def constants_of(module: nn.Module) -> Iterator[Weight]:
    """List the tensors in the graph of a TorchScript module that was frozen; they can be read, but not assigned."""
    if not isinstance(module, torch.jit.ScriptModule) or not hasattr(module, "graph"):
        return
    for node in module.graph.findAllNodes("prim::Constant", recurse=True):
        output = node.output()
        if node.hasAttribute("value") and node.kindOf("value") == "t" and output.debugName().startswith("self."):
            name = output.debugName().removeprefix("self.")
            yield weight_of(name, {"": node.t("value")}, "", layer=name.rpartition(".")[0]).replace(trainable=False)

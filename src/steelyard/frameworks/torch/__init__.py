"""PyTorch: modules, tensors, state dicts and optimizers.

Parameters and saved buffers are listed in the order of `state_dict`. Packed, lazy and meta parameters are listed as unreadable,
unless a hook of Accelerate has their numbers; writes into quantised, sparse and meta tensors are refused. Distributed tensors are
read and written by all processes together.
"""

from steelyard.frameworks.torch.build import build
from steelyard.frameworks.torch.effective import derive
from steelyard.frameworks.torch.folding import folds
from steelyard.frameworks.torch.graph import graph, run
from steelyard.frameworks.torch.loading import loading
from steelyard.frameworks.torch.norms import update_norms
from steelyard.frameworks.torch.smaller import smaller
from steelyard.frameworks.torch.tensors import tensor_of
from steelyard.frameworks.torch.units import units
from steelyard.frameworks.torch.weights import assign, meta, orders, weights

__all__ = [
    "assign",
    "build",
    "derive",
    "folds",
    "graph",
    "loading",
    "meta",
    "orders",
    "run",
    "smaller",
    "tensor_of",
    "units",
    "update_norms",
    "weights",
]

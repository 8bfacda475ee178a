"""PyTorch: modules, tensors, state dicts and optimizers.

Parameters and saved buffers are listed in the order of `state_dict`. Lazy modules that have not seen data are refused, as
are writes into quantised, sparse, distributed and meta tensors.
"""

from steelyard.frameworks.torch.build import build
from steelyard.frameworks.torch.graph import graph, run
from steelyard.frameworks.torch.weights import assign, orders, tensor_of, weights

__all__ = ["assign", "build", "graph", "orders", "run", "tensor_of", "weights"]

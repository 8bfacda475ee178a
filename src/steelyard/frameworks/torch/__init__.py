"""PyTorch: modules, tensors, state dicts and optimizers."""

from steelyard.frameworks.torch.build import build
from steelyard.frameworks.torch.graph import graph, run
from steelyard.frameworks.torch.weights import assign, orders, weights

__all__ = ["assign", "build", "graph", "orders", "run", "weights"]

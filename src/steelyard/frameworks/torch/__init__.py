"""PyTorch: modules, tensors, state dicts and optimizers."""

from steelyard.frameworks.torch.build import build
from steelyard.frameworks.torch.graph import graph, run
from steelyard.frameworks.torch.weights import assign, orders, tensor_of, weights

__all__ = ["assign", "build", "graph", "orders", "run", "tensor_of", "weights"]

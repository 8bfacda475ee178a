"""skorch: nets around modules of PyTorch."""

from steelyard.frameworks.skorch.graph import graph, run
from steelyard.frameworks.skorch.weights import assign, weights

__all__ = ["assign", "graph", "run", "weights"]

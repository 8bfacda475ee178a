"""Flax: variables, train states and bound modules of linen, and modules of NNX."""

from steelyard.frameworks.flax.graph import graph, run
from steelyard.frameworks.flax.weights import assign, tree, tree_framework, weights

__all__ = ["assign", "graph", "run", "tree", "tree_framework", "weights"]

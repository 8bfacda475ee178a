"""JAX: arrays, and trees of arrays."""

from steelyard.frameworks.jax.graph import graph, run
from steelyard.frameworks.jax.weights import assign, tree_framework, weights

__all__ = ["assign", "graph", "run", "tree_framework", "weights"]

"""JAX: arrays, and trees of arrays.

Arrays are listed in the order in which JAX flattens the tree, which sorts the keys of dicts. Keys for random numbers and
text are skipped. Traced arrays, shapes without numbers and other leaves are refused.
"""

from steelyard.frameworks.jax.graph import graph, run
from steelyard.frameworks.jax.weights import assign, is_immutable, parameters, tree_framework, weights

__all__ = ["assign", "graph", "is_immutable", "parameters", "run", "tree_framework", "weights"]

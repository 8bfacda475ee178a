"""JAX: arrays, and trees of arrays, also of classes that are registered as trees.

Arrays are listed in the order in which JAX flattens the tree, which sorts the keys of dicts. Keys for random numbers and
text are skipped. Traced arrays, shapes without numbers and other leaves are refused.
"""

from steelyard.frameworks.jax.graph import graph, run, tree_graph
from steelyard.frameworks.jax.weights import assign, claims, is_immutable, parameters, tree_framework, weights

__all__ = ["assign", "claims", "graph", "is_immutable", "parameters", "run", "tree_framework", "tree_graph", "weights"]

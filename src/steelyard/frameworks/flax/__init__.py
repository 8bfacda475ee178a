"""Flax: variables, train states and bound modules of linen, and modules of NNX.

NNX modules are listed in the order of their state, linen's variables in the order of JAX (sorted keys), both by their paths
(`layers/0/kernel`). The state of random numbers and collected intermediates are skipped. An unbound linen module, which has
no numbers, is refused.
"""

from steelyard.frameworks.flax.graph import graph, run
from steelyard.frameworks.flax.weights import assign, is_immutable, parameters, tree, tree_framework, weights

__all__ = ["assign", "graph", "is_immutable", "parameters", "run", "tree", "tree_framework", "weights"]

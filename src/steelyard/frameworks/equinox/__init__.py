"""Equinox: modules, which are trees of JAX.

Arrays are listed in the order of the fields, by their attribute paths (`layers[0].weight`). Optimizer states, which do not
hold a module, are refused here; a module that needs a state is run only with the state bound to it.
"""

from steelyard.frameworks.equinox.graph import graph, run
from steelyard.frameworks.equinox.weights import assign, derive, is_immutable, joined, orders, parameters, weights

__all__ = ["assign", "derive", "graph", "is_immutable", "joined", "orders", "parameters", "run", "weights"]

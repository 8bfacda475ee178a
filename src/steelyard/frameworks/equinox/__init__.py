"""Equinox: modules, which are trees of JAX."""

from steelyard.frameworks.equinox.graph import graph, run
from steelyard.frameworks.equinox.weights import assign, weights

__all__ = ["assign", "graph", "run", "weights"]

"""SciKeras: estimators around models of Keras."""

from steelyard.frameworks.scikeras.graph import graph, run
from steelyard.frameworks.scikeras.weights import assign, meta, weights

__all__ = ["assign", "graph", "meta", "run", "weights"]

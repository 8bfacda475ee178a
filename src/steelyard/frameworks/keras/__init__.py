"""Keras 3, on the backend that the process chose.

Variables are listed in the order of `model.weights`, by `variable.path`; seeds and metrics are left out. A model or
layer that is not built is refused.
"""

from steelyard.frameworks.keras.build import build
from steelyard.frameworks.keras.graph import graph, run
from steelyard.frameworks.keras.norms import update_norms
from steelyard.frameworks.keras.smaller import smaller
from steelyard.frameworks.keras.weights import assign, derive, meta, own_name, parameters, weights

__all__ = ["assign", "build", "derive", "graph", "meta", "own_name", "parameters", "run", "smaller", "update_norms", "weights"]

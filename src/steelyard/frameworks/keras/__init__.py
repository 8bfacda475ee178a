"""Keras 3, on the backend that the process chose."""

from steelyard.frameworks.keras.build import build
from steelyard.frameworks.keras.graph import graph, run
from steelyard.frameworks.keras.weights import assign, meta, weights

__all__ = ["assign", "build", "graph", "meta", "run", "weights"]

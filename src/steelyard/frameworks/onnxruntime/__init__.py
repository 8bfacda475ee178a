"""ONNX Runtime, which runs the files that Steelyard reads as weights."""

from steelyard.frameworks.onnxruntime.graph import graph, run
from steelyard.frameworks.onnxruntime.weights import assign, weights

__all__ = ["assign", "graph", "run", "weights"]

"""ONNX Runtime, which runs the files that Steelyard reads as weights.

An inference session is refused, since its weights cannot be read from outside; its file is listed instead. A file is run
only if the process has imported ONNX Runtime.
"""

from steelyard.frameworks.onnxruntime.graph import graph, run, run_file
from steelyard.frameworks.onnxruntime.weights import assign, weights

__all__ = ["assign", "graph", "run", "run_file", "weights"]

"""TensorFlow: modules and variables."""

from steelyard.frameworks.tensorflow.weights import assign, weights

__all__ = ["assign", "weights"]

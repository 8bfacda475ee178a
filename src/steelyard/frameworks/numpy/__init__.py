"""NumPy: single arrays."""

from steelyard.frameworks.numpy.weights import assign, weights

__all__ = ["assign", "weights"]

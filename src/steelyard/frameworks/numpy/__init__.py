"""NumPy: single arrays.

An array is one weight without a name. Arrays of text or objects are refused.
"""

from steelyard.frameworks.numpy.weights import assign, weights

__all__ = ["assign", "weights"]

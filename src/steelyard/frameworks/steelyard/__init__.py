"""Steelyard: `Weights` that are part of a container.

They are listed in their own order. A single `Weight` has no name here, and writing to it is refused.
"""

from steelyard.frameworks.steelyard.weights import assign, weights

__all__ = ["assign", "weights"]

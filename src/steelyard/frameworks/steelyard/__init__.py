"""Steelyard: `Weights` that are part of a container."""

from steelyard.frameworks.steelyard.weights import assign, weights

__all__ = ["assign", "weights"]

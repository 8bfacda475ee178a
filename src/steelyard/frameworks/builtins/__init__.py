"""Python: dicts, lists and tuples of models and arrays, and plain numbers."""

from steelyard.frameworks.builtins.weights import assign, weights

__all__ = ["assign", "weights"]

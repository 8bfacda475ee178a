"""Python: dicts, lists and tuples of models and arrays, and plain numbers.

Members are listed in the order of the container, each under its key or index. Text and None are skipped. A container
that contains itself, a ragged list of numbers and an object of an unknown framework are refused.
"""

from steelyard.frameworks.builtins.weights import assign, graph, parameters, weights

__all__ = ["assign", "graph", "parameters", "weights"]

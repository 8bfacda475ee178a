"""Python: dicts, lists and tuples of models and arrays, and plain numbers.

Members are listed in the order of the container, each under its key or index; variables of Keras in a list under their paths,
and pairs of a name and a part, as `named_parameters()` yields them, under their names. A generator is consumed. Text and
None are skipped. A container that contains itself, a ragged list of numbers and an object of an unknown framework are refused.
"""

from steelyard.frameworks.builtins.weights import assign, derive, gathered, meta, orders, parameters, tree_graph, weights

__all__ = ["assign", "derive", "gathered", "meta", "orders", "parameters", "tree_graph", "weights"]

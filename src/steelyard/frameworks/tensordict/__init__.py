"""TensorDict: nested dicts of tensors.

Tensors are listed in the order of the dict, under the keys on their path, joined by "." as in a `state_dict`. Text and other
data that is not a tensor is skipped. Numbers are written in place, so a TensorDict of a module's parameters changes the module;
a lazy stack, which makes its tensors when they are asked for, refuses them.
"""

from steelyard.frameworks.tensordict.weights import assign, weights

__all__ = ["assign", "weights"]

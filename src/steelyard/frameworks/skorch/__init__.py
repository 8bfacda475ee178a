"""skorch: nets around modules of PyTorch.

The weights are those of the module, in the order of its `state_dict`; several modules, and a criterion with parameters of
its own, are listed one after another. A net that is neither fitted nor initialised is refused.
"""

from steelyard.frameworks.skorch.graph import graph, run
from steelyard.frameworks.skorch.weights import assign, derive, meta, weights

__all__ = ["assign", "derive", "graph", "meta", "run", "weights"]

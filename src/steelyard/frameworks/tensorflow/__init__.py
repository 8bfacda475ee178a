"""TensorFlow: modules and variables.

A `tf.Module` is listed in the order of `module.variables`, other objects in that of a checkpoint, by attribute paths joined
by "/". Variables of text are skipped. Symbolic, sparse and ragged tensors are refused.
"""

from steelyard.frameworks.tensorflow.lite import run_file
from steelyard.frameworks.tensorflow.weights import assign, derive, weights

__all__ = ["assign", "derive", "run_file", "weights"]

"""Keras 2: the package `tf_keras`, which TF_USE_LEGACY_KERAS=1 and R's `library(keras)` give, and TensorFlow's copy of it.

Weights are listed in the order of `model.weights`, by the names of the variables without TensorFlow's `:0`, as in a file of
`model.save("net.h5")`. A vocabulary is listed, but it has no numbers. A model or layer that is not built is refused.
"""

from steelyard.frameworks.tf_keras.graph import graph, run
from steelyard.frameworks.tf_keras.weights import assign, meta, parameters, weights

__all__ = ["assign", "graph", "meta", "parameters", "run", "weights"]

"""SciKeras: estimators around models of Keras.

The weights are those of the Keras model inside, in its order and by its names. An estimator that has built no model yet is
refused, and so is reading weights that were listed before another fit.
"""

from steelyard.frameworks.scikeras.graph import graph, run
from steelyard.frameworks.scikeras.weights import assign, meta, weights

__all__ = ["assign", "graph", "meta", "run", "weights"]

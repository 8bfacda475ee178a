"""SciKeras: estimators around models of Keras.

The weights are those of the Keras model inside, in its order and by its names. An estimator that has not built its model yet
is refused, as is reading weights that were listed before another fit.
"""

from steelyard.frameworks.scikeras.graph import graph, run
from steelyard.frameworks.scikeras.weights import assign, derive, meta, weights

__all__ = ["assign", "derive", "graph", "meta", "run", "weights"]

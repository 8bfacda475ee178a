"""scikit-learn: perceptrons, linear models, pipelines, searches and ensembles.

Attributes are listed layer by layer (`coefs_.0`, `intercepts_.0`), members in the order of their container. Estimators that
have no weights by their nature are passed over inside containers. One that is not fitted is refused, and so is one that
predicts by code of another library which Steelyard does not know.
"""

from steelyard.frameworks.sklearn.build import build
from steelyard.frameworks.sklearn.graph import graph, run
from steelyard.frameworks.sklearn.weights import assign, meta, weights

__all__ = ["assign", "build", "graph", "meta", "run", "weights"]

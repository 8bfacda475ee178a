"""scikit-learn: perceptrons, linear models, pipelines, searches and ensembles.

Attributes are listed layer by layer (`coefs_.0`, `intercepts_.0`), members in the order of their container. Estimators of
kinds without weights are skipped inside containers. Unfitted estimators are refused, as are estimators of unknown libraries
with a `predict` of their own.
"""

from steelyard.frameworks.sklearn.build import build
from steelyard.frameworks.sklearn.graph import graph, run
from steelyard.frameworks.sklearn.scaling import scaled
from steelyard.frameworks.sklearn.smaller import smaller
from steelyard.frameworks.sklearn.weights import assign, derive, meta, weights

__all__ = ["assign", "build", "derive", "graph", "meta", "run", "scaled", "smaller", "weights"]

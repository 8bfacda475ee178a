"""scikit-learn: perceptrons, linear models, pipelines, searches and ensembles."""

from steelyard.frameworks.sklearn.build import build
from steelyard.frameworks.sklearn.graph import graph, run
from steelyard.frameworks.sklearn.weights import assign, meta, weights

__all__ = ["assign", "build", "graph", "meta", "run", "weights"]

"""Steelyard: the weights of any neural network in one shape, and back."""

from steelyard import errors
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.io import save, weights
from steelyard.measures.check import check
from steelyard.measures.digest import digest

__version__ = "0.1.0"

__all__ = ["Role", "Weight", "Weights", "__version__", "check", "digest", "errors", "save", "weights"]

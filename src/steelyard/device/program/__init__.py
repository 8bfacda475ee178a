"""A net as a list of operations without its framework, and their computation by NumPy."""

from steelyard.device.program.folding import folded
from steelyard.device.program.making import program_of
from steelyard.device.program.program import Program, Step
from steelyard.device.program.scaling import scalers_folded

__all__ = ["Program", "Step", "folded", "program_of", "scalers_folded"]

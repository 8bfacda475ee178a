"""Programs on integers of 8 bits.

| file | holds |
|---|---|
| `requantizing.py` | the factors between scales, and both ways of rounding |
| `calibrating.py` | scales and zero points of activations, from data |
| `kernels.py`, `making.py` | a quantised program from a float program |
| `operations.py`, `program.py` | what it computes, exactly |
"""

from steelyard.device.int8.making import quantized
from steelyard.device.int8.program import QuantizedProgram

__all__ = ["QuantizedProgram", "quantized"]

"""Programs of files that list operators on tensors: ONNX and TensorFlow Lite.

An operator works on tensors that have the axis of the examples anywhere, or do not have it: what does not depend on the
inputs is computed while the program is made.
"""

from steelyard.device.program.operators.translating import translated

__all__ = ["translated"]

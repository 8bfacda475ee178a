"""What the writers of forward passes share: the names of inputs and outputs, and the constants of activations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from steelyard.device.program.activations import SELU_ALPHA, SELU_SCALE

if TYPE_CHECKING:
    from steelyard.device.forward.forward import Forward

FACTS = {
    "SELU_SCALE": SELU_SCALE,
    "SELU_ALPHA": SELU_ALPHA,
    "ROOT_2": math.sqrt(2),
    "GELU": math.sqrt(2 / math.pi),
    "CUBIC": 0.044715,
    "SIXTH": 1 / 6,
}
"""The constants of activations by their names in texts."""


def pointer(forward: Forward, memory: str, number: int) -> str:
    """Return the name of an input or output: `x` or `y`, with its number from 1 where there are several."""
    many = len(forward.program.input_names if memory == "input" else forward.program.outputs) > 1
    return f"{'x' if memory == 'input' else 'y'}{number + 1 if many else ''}"

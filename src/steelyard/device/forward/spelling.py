"""What the writers of forward passes share: the names of inputs and outputs, and the constants of activations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from steelyard.device.program.activations import SELU_ALPHA, SELU_SCALE

if TYPE_CHECKING:
    from steelyard.device.forward.forward import Forward
    from steelyard.device.forward.integers import IntegerForward

FACTS = {
    "SELU_SCALE": SELU_SCALE,
    "SELU_ALPHA": SELU_ALPHA,
    "ROOT_2": math.sqrt(2),
    "GELU": math.sqrt(2 / math.pi),
    "CUBIC": 0.044715,
    "SIXTH": 1 / 6,
}
"""The constants of activations by their names in texts."""


def pointer(forward: Forward | IntegerForward, memory: str, number: int) -> str:
    """Return the name of an input or output: `x` or `y`, with its number from 1 where there are several."""
    return f"{'x' if memory == 'input' else 'y'}{numbered(forward, memory, number)}"


def numbered(forward: Forward | IntegerForward, memory: str, number: int) -> str:
    """Return the number of an input or output from 1, where there are several; blank if there is one."""
    values = forward.program.input_names if memory == "input" else forward.program.outputs
    return str(number + 1) if len(values) > 1 else ""


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as text.

    >>> shape_text((3, 4)), shape_text(())
    ('3 x 4', '1')
    """
    return " x ".join(map(str, shape)) or "1"

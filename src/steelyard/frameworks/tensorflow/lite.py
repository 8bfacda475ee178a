"""TensorFlow Lite files, run by the interpreter of TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from steelyard.core.weight import Array


def run_file(path: str, inputs: Sequence[Array]) -> list[Array]:
    """Return the outputs of a TensorFlow Lite file, by its own kernels, for one example after another."""
    resolver = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = tf.lite.Interpreter(path, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    made = [_one(interpreter, [each[nth : nth + 1] for each in inputs]) for nth in range(len(inputs[0]))]
    return [np.concatenate(outputs) for outputs in zip(*made, strict=True)]


def _one(interpreter: tf.lite.Interpreter, inputs: Sequence[Array]) -> list[Array]:
    for wanted, given in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(wanted["index"], given.astype(wanted["dtype"]))
    interpreter.reset_all_variables()
    interpreter.invoke()
    return [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]

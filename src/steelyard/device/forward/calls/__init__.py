"""The calls that a forward pass consists of, for languages whose functions take the same arguments: Rust and MicroPython.

A call has the name of a function and its arguments in order, none of them written in a language yet. The functions compute the
sums and products of `device.program` in their order, so that each language has the twin's bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from steelyard.device.forward.calls import linear, norms, sequences, shaping, windows
from steelyard.device.forward.calls.call import At, Buffer, Call, Curve, Table
from steelyard.device.program.activations import Activation
from steelyard.device.program.attention import Attention, MatMul
from steelyard.device.program.linear import Affine, Conv, ConvTranspose, Dense, Embedding, Prelu
from steelyard.device.program.norms import GroupNorm, LayerNorm, Softmax
from steelyard.device.program.recurrent import Recurrent
from steelyard.device.program.resampling import Resample
from steelyard.device.program.shaping import Combine, Concatenate, Constant, Permute, Reshape, Scale, Select
from steelyard.device.program.windows import GlobalPool, Pad, Pool, Upsample
from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    from steelyard.device.forward.forward import Forward
    from steelyard.device.program.program import Step

    Maker = Callable[[At, Any], Iterator[Call]]

__all__ = ["MAKERS", "At", "Buffer", "Call", "Curve", "Table", "calls"]


def calls(forward: Forward) -> Iterator[tuple[Step, list[Call]]]:
    """Yield the steps of a program, each with its calls. Raises `ShapeError` for an operation that cannot be written yet."""
    for nth, step in enumerate(forward.program.steps):
        if forward.is_idle(nth):
            continue
        maker = MAKERS.get(type(step.operation))
        if maker is None:
            kind = type(step.operation).__name__
            raise ShapeError(f"{quoted(step.name)} is a {kind}, which cannot be written yet; nothing was written")
        yield step, list(maker(At(forward, nth), step.operation))


MAKERS: dict[type, Maker] = {
    Dense: linear.dense,
    Conv: linear.conv,
    ConvTranspose: linear.conv_transpose,
    Affine: linear.affine,
    Prelu: linear.prelu,
    Resample: linear.resample,
    Embedding: linear.embedding,
    Activation: shaping.activation,
    Pool: windows.pool,
    GlobalPool: windows.global_pool,
    Pad: windows.pad,
    Upsample: windows.upsample,
    Softmax: norms.softmax,
    LayerNorm: norms.layer_norm,
    GroupNorm: norms.group_norm,
    Recurrent: sequences.recurrent,
    Attention: sequences.attention,
    MatMul: sequences.matmul,
    Reshape: shaping.reshape,
    Constant: shaping.constant,
    Permute: shaping.permute,
    Select: shaping.select,
    Concatenate: shaping.concatenate,
    Combine: shaping.combine,
    Scale: shaping.scale,
}
"""What makes the calls of each operation."""

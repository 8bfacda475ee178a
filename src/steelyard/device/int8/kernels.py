"""Kernels and biases as integers: a scale for each output, and sums that provably stay inside 32 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.device.int8.operations import Sums
from steelyard.device.int8.requantizing import HIGHEST, LOWEST, nearest
from steelyard.device.program.linear import Affine, Conv, ConvTranspose, Dense
from steelyard.numerics import grids

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.int8.making import Site

_GREATEST_BIAS = 1 << 30
_LIMIT = (1 << 31) - 256
"""a zero point is added afterwards"""


def summed(site: Site) -> Sums:
    """Return a layer with a kernel in integers."""
    import numpy as np

    operation, known = site.step.operation, site.inputs[0]
    assert isinstance(operation, (Dense, Conv, ConvTranspose, Affine))
    rows, bias = by_output(operation)
    codes, scales = coded(rows, bias, float(known.scale), site.bits)
    steps = float(known.scale) * scales.astype(np.float64)
    sums = np.zeros(len(rows), np.int64) if bias is None else nearest(bias.astype(np.float64) / steps)
    made = Sums(
        with_integers(operation, codes, sums.astype(np.int32)),
        known.zero_point,
        site.requantization(steps / float(site.output.scale)),
        site.bits,
    )
    check(site, made, codes, sums)
    return made


def by_output(operation: Dense | Conv | ConvTranspose | Affine) -> tuple[Array, Array | None]:
    """Return the kernel with a row for each output, float32, and the bias."""
    import numpy as np

    if isinstance(operation, Affine):
        return np.asarray(operation.scale, np.float32)[:, None], operation.offset
    kernel = np.asarray(operation.kernel, np.float32)
    if isinstance(operation, ConvTranspose):  # (in, out / groups, ...): the outputs of each group are those of its inputs
        split = kernel.reshape(operation.groups, -1, *kernel.shape[1:]).swapaxes(1, 2)
        return split.reshape(split.shape[0] * split.shape[1], -1), operation.bias
    return kernel.reshape(len(kernel), -1), operation.bias


def with_integers(
    operation: Dense | Conv | ConvTranspose | Affine, codes: Array, bias: Array
) -> Dense | Conv | ConvTranspose | Affine:
    """Return an operation with codes, a row for each output, and a bias of sums."""
    import numpy as np

    if isinstance(operation, Affine):
        return operation._replace(scale=codes[:, 0], offset=bias)
    shape = operation.kernel.shape
    if isinstance(operation, ConvTranspose):
        split = codes.reshape(operation.groups, shape[1], shape[0] // operation.groups, *shape[2:]).swapaxes(1, 2)
        return operation._replace(kernel=np.ascontiguousarray(split).reshape(shape), bias=bias)
    return operation._replace(kernel=codes.reshape(shape), bias=bias)


def coded(rows: Array, bias: Array | None, input_scale: float, bits: int) -> tuple[Array, Array]:
    """Return the codes of each row, and its scale: its greatest magnitude divided by that of a code.

    The scale of a row that is small next to its bias is larger, so that the bias is a number of 32 bits.
    """
    import numpy as np

    wanted = grids.range_of(bits, full=False, affine=False)
    scales, _ = grids.scales(rows.min(axis=1), rows.max(axis=1), wanted, 2.0**-23)
    if bias is not None:
        least = np.abs(bias.astype(np.float64)) / (input_scale * _GREATEST_BIAS)
        scales = np.maximum(scales, least.astype(np.float32))
    return grids.codes(rows, scales[:, None], None, wanted), scales


def check(site: Site, made: Sums, codes: Array, bias: Array) -> None:
    """Refuse a layer whose sums may leave 32 bits for some input, also where they are shifted to the left."""
    import numpy as np

    reach = max(HIGHEST - made.input_zero, made.input_zero - LOWEST)
    greatest = np.abs(codes.astype(np.int64)).sum(axis=1) * reach + np.abs(bias)
    shifts = np.maximum(made.requantization.by.shifts, 0)
    if (greatest.astype(np.float64) * np.exp2(shifts) >= _LIMIT).any():
        site.refuse(f"has sums up to {int(greatest.max()):,}, which may leave 32 bits; export the net in float32")

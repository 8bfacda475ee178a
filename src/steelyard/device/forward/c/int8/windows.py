"""Pools of codes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.c.int8.sums import window_sizes
from steelyard.device.forward.c.kernels import Call, Kernel
from steelyard.device.program.windows import Pool

if TYPE_CHECKING:
    from steelyard.device.forward.c.int8.steps import At
    from steelyard.device.int8.operations import Pooling

_LOOPS = """
for (size_t c = 0; c < outs; c++)
    for (size_t r = 0; r < rows; r++)
        for (size_t q = 0; q < columns; q++) {
            START
            for (size_t i = 0; i < tall; i++) {
                const size_t h = r * row_step + i * row_gap - above; /* wraps around below 0 */
                if (h >= height)
                    continue;
                for (size_t j = 0; j < wide; j++) {
                    const size_t w = q * column_step + j * column_gap - before;
                    if (w < width) {
                        const int32_t code = x[c * x_channel + h * x_row + w * x_column];
                        EACH
                    }
                }
            }
            END
        }
"""
_Y = "y[c * y_channel + r * y_row + q * y_column]"
_PARTS = {
    "max": ("int32_t most = -128;", "most = code > most ? code : most;", f"{_Y} = (int8_t)most;"),
    "average": (
        "int32_t sum = 0, count = 0;",
        "sum += code;\n                        count++;",
        f"{_Y} = (int8_t)((sum > 0 ? sum + count / 2 : sum - count / 2) / count);",
    ),
    "counting": (
        "int32_t sum = 0;\n            const int32_t count = (int32_t)(tall * wide);",
        "sum += code - zero;",
        f"{_Y} = (int8_t)((sum > 0 ? sum + count / 2 : sum - count / 2) / count + zero);",
    ),
}


def pooling(at: At, operation: Pooling) -> list[Call]:
    """Return the call of a pool; one over all places has a window of the size of the image."""
    pool, shape = operation.operation, at.shape()
    first = pool.channels == "first"
    outs = shape[0] if first else shape[-1]
    if isinstance(pool, Pool):
        before = [each for each, _ in pool.padding]
        sizes = window_sizes(at, shape, at.own.shape, pool.channels, pool.size, pool.strides, pool.dilation, before)
    else:
        count = prod(shape) // outs
        flat, made = ((outs, count), (outs, 1)) if first else ((count, outs), (1, outs))
        sizes = window_sizes(at, flat, made, pool.channels, (count,), (1,), (1,), (0,))
    counts = isinstance(pool, Pool) and pool.count_padding and any(map(any, pool.padding)) and pool.word == "average"
    word = "counting" if counts else pool.word
    start, each, end = _PARTS[word]
    body = _LOOPS.replace("START", start).replace("EACH", each).replace("END", end)
    parameters = ("const int8_t *x", "int8_t *y", *["int32_t zero"] * counts)
    arguments = (at.input(), at.output, *[str(operation.zero)] * counts)
    return [Call(Kernel(f"{word}_pool", parameters, body), arguments, {"outs": outs, **sizes})]

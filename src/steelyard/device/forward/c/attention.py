"""Attention, one step of the query after another, with the scores of one step at a time."""

from __future__ import annotations

import math
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.c.kernels import Call, Kernel, literal
from steelyard.device.forward.c.loops import nested, row_major

if TYPE_CHECKING:
    from steelyard.device.forward.c.steps import At
    from steelyard.device.program.attention import Attention, MatMul

_BODY = """
for (size_t head = 0; head < heads; head++)
    for (size_t s = 0; s < steps; s++) {
        const REAL *const query = q + head * q_head + s * q_step;
        const REAL *const key = k + head / per * k_head;
        const REAL *const value = v + head / per * v_head;
        REAL *const made = y + head * y_head + s * y_step;
        const size_t end = END;
        REAL most = (REAL)-INFINITY;
        SUM total = 0.0S;
        for (size_t j = 0; j < end; j++) {
            SUM sum = 0.0S;
            for (size_t d = 0; d < dim; d++)
                sum += (SUM)query[d] * (SUM)key[j * k_step + d];
            scores[j] = (REAL)sum / ROOT;
            most = scores[j] > most ? scores[j] : most;
        }
        for (size_t j = 0; j < end; j++) {
            scores[j] = expR(scores[j] - most);
            total += (SUM)scores[j];
        }
        for (size_t j = 0; j < end; j++)
            scores[j] /= (REAL)total;
        for (size_t d = 0; d < wide; d++) {
            SUM mean = 0.0S;
            for (size_t j = 0; j < end; j++)
                mean += (SUM)scores[j] * (SUM)value[j * v_step + d];
            made[d] = (REAL)mean;
        }
    }
"""
_PRODUCT = """
for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < columns; c++) {
        SUM sum = 0.0S;
        for (size_t t = 0; t < terms; t++)
            sum += (SUM)first[r * terms + t] * (SUM)second[t * columns + c];
        made[r * columns + c] = (REAL)sum;
    }
"""


def attention(at: At, operation: Attention) -> list[Call]:
    """Return the call for the attention of all heads."""
    counts = [operation.heads, operation.key_heads, operation.key_heads]
    layouts = [_layout(at.shape(nth), count) for nth, count in enumerate(counts)]
    (heads, steps, dim, _, _), (key_heads, keys, *_), (_, _, wide, _, _) = layouts
    sizes = {"heads": heads, "per": heads // key_heads, "steps": steps, "keys": keys, "dim": dim, "wide": wide}
    for word, layout in zip("qkv", layouts, strict=True):
        sizes |= {f"{word}_head": layout[3], f"{word}_step": layout[4]}
    sizes |= {"y_head": wide, "y_step": heads * wide} if operation.heads else {"y_head": steps * wide, "y_step": wide}
    end = "keys" if not operation.causal else "s + 1" if steps <= keys else "s + 1 < keys ? s + 1 : keys"
    body = _BODY.replace("END", end)
    body = body.replace("ROOT", literal(math.sqrt(dim), at.arithmetic.numbers))
    parameters = ("const REAL *q", "const REAL *k", "const REAL *v", "REAL *y", "REAL *scores")
    kernel = Kernel(f"attention{'_causal' * operation.causal}", parameters, body)
    return [Call(kernel, (*map(at.input, range(3)), at.output, at.work), sizes)]


def _layout(shape: tuple[int, ...], heads: int) -> tuple[int, int, int, int, int]:
    """Return the number of heads, steps and features of a head, and the distances of heads and of steps."""
    if not heads:
        return (*shape, shape[1] * shape[2], shape[2])  # type: ignore[return-value]
    dim = shape[1] // heads
    return heads, shape[0], dim, dim, shape[1]


def matmul(at: At, _: MatMul) -> list[Call]:
    """Return the call for products of matrices; other axes of length 1 are repeated."""
    rows, columns = at.own.shape[-2:]
    before = at.own.shape[:-2]
    counters, counts = ([f"{word}{axis}" for axis in range(len(before))] for word in "bn")
    sizes = {f"n{axis}": length for axis, length in enumerate(before)} | {"rows": rows, "columns": columns}
    sizes |= {"terms": at.shape(0)[-1]}
    starts = []
    for nth in range(2):
        shape = (1,) * (len(before) + 2 - len(at.shape(nth))) + at.shape(nth)
        steps = [prod(shape[axis + 1 :]) if shape[axis] > 1 else 0 for axis in range(len(before))]
        sizes |= {f"s{nth}{axis}": step for axis, step in enumerate(steps)}
        starts.append("".join(f" + {counter} * s{nth}{axis}" for axis, counter in enumerate(counters)))
    lines = [
        f"const REAL *const first = p{starts[0]};",
        f"const REAL *const second = q{starts[1]};",
        f"REAL *const made = y + {row_major([*counters, '0'], [*counts, 'rows * columns'])};",
        *_PRODUCT.strip().split("\n"),
    ]
    body = "\n".join(nested([(counter, f"n{axis}") for axis, counter in enumerate(counters)], lines))
    kernel = Kernel(f"matmul{len(before)}d", ("const REAL *p", "const REAL *q", "REAL *y"), body)
    return [Call(kernel, (at.input(0), at.input(1), at.output), sizes)]

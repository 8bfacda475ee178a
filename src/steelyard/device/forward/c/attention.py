"""Attention, one step of the query after another, with the scores of one step at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from steelyard.device.forward.c.kernels import Call, Kernel, literal

if TYPE_CHECKING:
    from steelyard.device.forward.c.steps import At
    from steelyard.device.program.attention import Attention

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


def attention(at: At, operation: Attention) -> list[Call]:
    """Return the call for the attention of all heads."""
    counts = [operation.heads, operation.key_heads, operation.key_heads]
    layouts = [_layout(at.shape(nth), count) for nth, count in enumerate(counts)]
    (heads, steps, dim, _, _), (key_heads, keys, *_), (_, _, wide, _, _) = layouts
    sizes = {"heads": heads, "per": heads // key_heads, "steps": steps, "keys": keys, "dim": dim, "wide": wide}
    for word, layout in zip("qkv", layouts, strict=True):
        sizes |= {f"{word}_head": layout[3], f"{word}_step": layout[4]}
    sizes |= {"y_head": wide, "y_step": heads * wide} if operation.heads else {"y_head": steps * wide, "y_step": wide}
    body = _BODY.replace("END", "s + 1 < keys ? s + 1 : keys" if operation.causal else "keys")
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

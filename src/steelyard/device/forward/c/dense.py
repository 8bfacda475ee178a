"""Dense layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.device.forward.c.kernels import Call, Kernel

if TYPE_CHECKING:
    from steelyard.device.forward.c.steps import At
    from steelyard.device.program.linear import Dense

_ONE = """
for (size_t o = 0; o < outs; o++) {
    SUM sum = START;
    for (size_t i = 0; i < ins; i++)
        sum += (SUM)x[i] * (SUM)kernel[o * ins + i];
    y[o] = (REAL)sum;
}
"""
_ROWS = """
for (size_t row = 0; row < rows; row++)
    for (size_t o = 0; o < outs; o++) {
        SUM sum = START;
        for (size_t i = 0; i < ins; i++)
            sum += (SUM)x[row * ins + i] * (SUM)kernel[o * ins + i];
        y[row * outs + o] = (REAL)sum;
    }
"""


def dense(at: At, operation: Dense) -> list[Call]:
    """Return the call for a dense layer on the last axis."""
    outs, ins = operation.kernel.shape
    rows = at.size // outs
    biased = operation.bias is not None
    body = (_ROWS if rows > 1 else _ONE).replace("START", "bias[o]" if biased else "0.0S")
    body = body.replace("SUM sum = bias", "SUM sum = (SUM)bias")
    parameters = ("const REAL *x", "REAL *y", "const REAL *kernel", *["const REAL *bias"] * biased)
    kernel = Kernel(f"dense{'_rows' * (rows > 1)}{'_plain' * (not biased)}", parameters, body)
    arguments = (at.input(), at.output, at.table("kernel"), *([at.table("bias")] if biased else []))
    return [Call(kernel, arguments, {**({"rows": rows} if rows > 1 else {}), "outs": outs, "ins": ins})]

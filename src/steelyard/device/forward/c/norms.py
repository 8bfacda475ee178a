"""Norms, softmax, and factors of channels."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.c.kernels import Call, Kernel, literal

if TYPE_CHECKING:
    from steelyard.device.forward.c.steps import At
    from steelyard.device.program.linear import Affine, Prelu
    from steelyard.device.program.norms import GroupNorm, LayerNorm, Softmax

_ALONG = """
for (size_t o = 0; o < outer; o++)
    for (size_t c = 0; c < length; c++)
        for (size_t i = 0; i < inner; i++) {
            const size_t at = (o * length + c) * inner + i;
            EACH
        }
"""
_SOFTMAX = """
for (size_t o = 0; o < outer; o++)
    for (size_t i = 0; i < inner; i++) {
        const size_t at = o * length * inner + i;
        REAL most = x[at];
        SUM total = 0.0S;
        for (size_t c = 1; c < length; c++)
            if (x[at + c * inner] > most)
                most = x[at + c * inner];
        EACH
    }
"""
_SHARES = """\
for (size_t c = 0; c < length; c++) {
            const REAL power = expR(x[at + c * inner] - most);
            y[at + c * inner] = power;
            total += (SUM)power;
        }
        for (size_t c = 0; c < length; c++)
            y[at + c * inner] /= (REAL)total;"""
_LOGARITHMS = """\
for (size_t c = 0; c < length; c++)
            total += (SUM)expR(x[at + c * inner] - most);
        {
            const REAL shift = logR((REAL)total);
            for (size_t c = 0; c < length; c++)
                y[at + c * inner] = x[at + c * inner] - most - shift;
        }"""
_LAYER = """
for (size_t row = 0; row < rows; row++) {
    SUM mean = 0.0S, variance = 0.0S;
    MEAN
    for (size_t i = 0; i < count; i++) {
        const SUM apart = (SUM)x[row * count + i] - mean;
        variance += apart * apart;
    }
    variance = sqrtS(variance / (TO_SUM)count + EPSILON);
    for (size_t i = 0; i < count; i++)
        y[row * count + i] = (REAL)(((SUM)x[row * count + i] - mean) / variance SCALED);
}
"""
_MEAN = """\
for (size_t i = 0; i < count; i++)
        mean += (SUM)x[row * count + i];
    mean /= (TO_SUM)count;"""
_GROUP = """
for (size_t group = 0; group < groups; group++) {
    SUM mean = 0.0S, variance = 0.0S;
    for (size_t c = group * per; c < (group + 1) * per; c++)
        for (size_t o = 0; o < outer; o++)
            for (size_t i = 0; i < inner; i++)
                mean += (SUM)x[(o * channels + c) * inner + i];
    mean /= (TO_SUM)count;
    for (size_t c = group * per; c < (group + 1) * per; c++)
        for (size_t o = 0; o < outer; o++)
            for (size_t i = 0; i < inner; i++) {
                const SUM apart = (SUM)x[(o * channels + c) * inner + i] - mean;
                variance += apart * apart;
            }
    variance = sqrtS(variance / (TO_SUM)count + EPSILON);
    for (size_t c = group * per; c < (group + 1) * per; c++)
        for (size_t o = 0; o < outer; o++)
            for (size_t i = 0; i < inner; i++) {
                const size_t at = (o * channels + c) * inner + i;
                y[at] = (REAL)(((SUM)x[at] - mean) / variance SCALED);
            }
}
"""


def affine(at: At, operation: Affine) -> list[Call]:
    """Return the call for a factor and an offset of each channel."""
    each = "y[at] = (REAL)((SUM)x[at] * (SUM)scale[c] + (SUM)offset[c]);"
    return [_along(at, "affine", _ALONG.replace("EACH", each), operation.axis, "scale", "offset")]


def prelu(at: At, operation: Prelu) -> list[Call]:
    """Return the call for a negative slope of each channel."""
    each = "y[at] = x[at] > 0.0R ? x[at] : x[at] * slope[c];"
    return [_along(at, "prelu", _ALONG.replace("EACH", each), operation.axis, "slope")]


def softmax(at: At, operation: Softmax) -> list[Call]:
    """Return the call for a softmax or its logarithm along an axis."""
    each = _LOGARITHMS if operation.word == "log_softmax" else _SHARES
    return [_along(at, operation.word, _SOFTMAX.replace("EACH", each), operation.axis)]


def _along(at: At, name: str, body: str, axis: int, *fields: str) -> Call:
    shape = at.own.shape
    sizes = {"outer": prod(shape[: axis - 1]), "length": shape[axis - 1], "inner": prod(shape[axis:])}
    parameters = ("const REAL *x", "REAL *y", *(f"const REAL *{field}" for field in fields))
    return Call(Kernel(name, parameters, body), (at.input(), at.output, *map(at.table, fields)), sizes)


def layer_norm(at: At, operation: LayerNorm) -> list[Call]:
    """Return the call for a norm over the last numbers."""
    fields = [field for field in ("scale", "offset") if getattr(operation, field) is not None]
    body = _scaled(_LAYER, at, operation.epsilon, fields, "i")
    body = (
        body.replace("MEAN", _MEAN)
        if operation.centres
        else body.replace("    MEAN\n", "").replace(" - mean", "").replace("mean = 0.0S, ", "")
    )
    name = f"{'layer' if operation.centres else 'rms'}_norm{'_plain' * (not fields)}"
    return [_normed(at, name, body, fields, {"rows": at.size // operation.size, "count": operation.size})]


def group_norm(at: At, operation: GroupNorm) -> list[Call]:
    """Return the call for a norm over groups of channels."""
    fields = [field for field in ("scale", "offset") if getattr(operation, field) is not None]
    shape, axis = at.own.shape, operation.axis
    outer, channels, inner = prod(shape[: axis - 1]), shape[axis - 1], prod(shape[axis:])
    per = channels // operation.groups
    sizes = {"groups": operation.groups, "per": per, "channels": channels, "count": per * outer * inner}
    body = _scaled(_GROUP, at, operation.epsilon, fields, "c")
    return [_normed(at, f"group_norm{'_plain' * (not fields)}", body, fields, {**sizes, "outer": outer, "inner": inner})]


def _scaled(body: str, at: At, epsilon: float, fields: list[str], place: str) -> str:
    scaled = "".join(f" {'*' if field == 'scale' else '+'} (SUM){field}[{place}]" for field in fields)
    return body.replace("EPSILON", literal(epsilon, at.arithmetic.sums)).replace(" SCALED", scaled)


def _normed(at: At, name: str, body: str, fields: list[str], sizes: dict[str, int]) -> Call:
    parameters = ("const REAL *x", "REAL *y", *(f"const REAL *{field}" for field in fields))
    return Call(Kernel(name, parameters, body), (at.input(), at.output, *map(at.table, fields)), sizes)

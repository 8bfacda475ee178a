"""Layers with kernels: sums of products of codes, which become codes again."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.c.kernels import Call, Kernel
from steelyard.device.program.linear import Affine, Conv, ConvTranspose, Dense
from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.device.forward.c.int8.steps import At
    from steelyard.device.int8.operations import Means, Rows, Sums

CODE = "(int8_t)SCALE_code(sum, multiplier[o], shift[o], out_zero, low, high)"
_DENSE = f"""
for (size_t row = 0; row < rows; row++)
    for (size_t o = 0; o < outs; o++) {{
        int32_t sum = bias[o];
        for (size_t i = 0; i < ins; i++)
            sum += ((int32_t)x[row * ins + i] - zero) * WEIGHT(o * ins + i);
        y[row * outs + o] = {CODE};
    }}
"""
_CONV = f"""
for (size_t o = 0; o < outs; o++)
    for (size_t r = 0; r < rows; r++)
        for (size_t q = 0; q < columns; q++) {{
            int32_t sum = bias[o];
            for (size_t c = 0; c < ins; c++)
                for (size_t i = 0; i < tall; i++) {{
                    const size_t h = r * row_step + i * row_gap - above; /* wraps around below 0 */
                    if (h >= height)
                        continue;
                    for (size_t j = 0; j < wide; j++) {{
                        const size_t w = q * column_step + j * column_gap - before;
                        if (w < width)
                            sum += ((int32_t)x[(o / each * ins + c) * x_channel + h * x_row + w * x_column] - zero)
                                * WEIGHT(((o * ins + c) * tall + i) * wide + j);
                    }}
                }}
            y[o * y_channel + r * y_row + q * y_column] = {CODE};
        }}
"""
_TRANSPOSED = f"""
for (size_t o = 0; o < outs; o++)
    for (size_t r = 0; r < rows; r++)
        for (size_t q = 0; q < columns; q++) {{
            int32_t sum = bias[o];
            for (size_t c = 0; c < ins; c++)
                for (size_t i = 0; i < tall; i++) {{
                    const size_t h = r + above - i * row_gap; /* wraps around below 0 */
                    if (h / row_step >= height || h % row_step)
                        continue;
                    for (size_t j = 0; j < wide; j++) {{
                        const size_t w = q + before - j * column_gap;
                        if (w / column_step < width && !(w % column_step))
                            sum += ((int32_t)x[(o / each * ins + c) * x_channel + h / row_step * x_row
                                             + w / column_step * x_column] - zero)
                                * WEIGHT((((o / each * ins + c) * each + o % each) * tall + i) * wide + j);
                    }}
                }}
            y[o * y_channel + r * y_row + q * y_column] = {CODE};
        }}
"""
_AFFINE = f"""
for (size_t a = 0; a < outer; a++)
    for (size_t o = 0; o < outs; o++)
        for (size_t b = 0; b < inner; b++) {{
            const int32_t sum = ((int32_t)x[(a * outs + o) * inner + b] - zero) * WEIGHT(o) + bias[o];
            y[(a * outs + o) * inner + b] = {CODE};
        }}
"""
_MEANS = """
for (size_t c = 0; c < outs; c++) {
    int32_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (int32_t)x[c * x_channel + i * x_place] - zero;
    y[c] = (int8_t)SCALE_code(sum, multiplier, shift, out_zero, low, high);
}
"""
_ROWS = """
for (size_t i = 0; i < count; i++)
    memcpy(y + i * width, table + (size_t)x[i] * width, width);
"""
_PARAMETERS = (
    *("const int8_t *x", "int8_t *y", "const KIND *kernel", "const int32_t *bias", "const int32_t *multiplier"),
    *("const int8_t *shift", "int32_t zero", "int32_t out_zero", "int32_t low", "int32_t high"),
)


def sums(at: At, operation: Sums) -> list[Call]:
    """Return the call of a layer with a kernel."""
    inner = operation.operation
    if isinstance(inner, Dense):
        outs, ins = inner.kernel.shape
        return [_call(at, operation, "dense", _DENSE, {"rows": at.size // outs, "outs": outs, "ins": ins})]
    if isinstance(inner, Affine):
        shape, axis = at.own.shape, inner.axis
        sizes = {"outer": prod(shape[: axis - 1]), "outs": shape[axis - 1], "inner": prod(shape[axis:])}
        return [_call(at, operation, "affine", _AFFINE, sizes)]
    if isinstance(inner, Conv):
        padding = [before for before, _ in inner.padding]
        sizes = _windows(at, inner, padding, inner.kernel.shape[0], inner.kernel.shape[1])
        return [_call(at, operation, "conv", _CONV, sizes)]
    outs = inner.kernel.shape[1] * inner.groups
    sizes = _windows(at, inner, inner.cropped, outs, inner.kernel.shape[0] // inner.groups)
    return [_call(at, operation, "conv_transpose", _TRANSPOSED, sizes)]


def _windows(at: At, inner: Conv | ConvTranspose, before: Sequence[int], outs: int, ins: int) -> dict[str, int]:
    shape, made = at.shape(), at.own.shape
    sizes = {"outs": outs, "ins": ins, "each": outs // inner.groups}
    return sizes | window_sizes(at, shape, made, inner.channels, inner.kernel.shape[2:], inner.strides, inner.dilation, before)


def window_sizes(
    at: At,
    shape: tuple[int, ...],
    made: tuple[int, ...],
    channels: str,
    size: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    before: Sequence[int],
) -> dict[str, int]:
    """Return the sizes of a window that passes an image of one or two axes."""
    if len(size) > 2:
        raise ShapeError(f"{quoted(at.own.name)} has {len(size)} spatial axes, which is not written in int8 yet")
    first = channels == "first"
    space, out = (shape[1:], made[1:]) if first else (shape[:-1], made[:-1])
    height, width = _two(space)
    rows, columns = _two(out)
    facts = {"tall wide": size, "row_step column_step": strides, "row_gap column_gap": dilation}
    sizes = {"height": height, "width": width, "rows": rows, "columns": columns}
    for words, values in facts.items():
        sizes |= dict(zip(words.split(), _two(values), strict=True))
    sizes |= dict(zip(("above", "before"), _two(before, 0), strict=True))
    for word, image, count in (("x", (height, width), shape), ("y", (rows, columns), made)):
        step = 1 if first else count[-1]
        sizes |= {f"{word}_channel": prod(image) if first else 1, f"{word}_row": image[1] * step, f"{word}_column": step}
    return sizes


def _two(values: Sequence[int], usual: int = 1) -> tuple[int, int]:
    return (usual, values[0]) if len(values) == 1 else (values[0], values[1])


def _call(at: At, operation: Sums, name: str, body: str, sizes: dict[str, int]) -> Call:
    short = operation.bits == 4
    body = body.replace("WEIGHT(", "NIBBLE_of(kernel, ") if short else body.replace("WEIGHT(", "KERNEL(")
    body = _brackets(body)
    parameters = tuple(each.replace("KIND", "uint8_t" if short else "int8_t") for each in _PARAMETERS)
    out = operation.requantization
    facts = (operation.input_zero, out.zero_point, out.lowest, out.highest)
    tables = [at.table(word) for word in ("kernel", "bias", "multiplier", "shift")]
    return Call(Kernel(f"{name}{'_4' * short}", parameters, body), (at.input(), at.output, *tables, *map(str, facts)), sizes)


def _brackets(body: str) -> str:
    """Return a text with `kernel[...]` for `KERNEL(...)`."""
    while (start := body.find("KERNEL(")) >= 0:
        end, depth = start + len("KERNEL("), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(body[end], 0)
            end += 1
        body = f"{body[:start]}kernel[{body[start + 7 : end - 1]}]{body[end:]}"
    return body


def means(at: At, operation: Means) -> list[Call]:
    """Return the call of a mean over all places."""
    shape, first, out = at.shape(), operation.operation.channels == "first", operation.requantization
    outs = shape[0] if first else shape[-1]
    count = prod(shape) // outs
    parameters = ("const int8_t *x", "int8_t *y", "int32_t zero", "int32_t multiplier", "int shift", *_PARAMETERS[7:])
    facts = (operation.input_zero, int(out.by.values[0]), int(out.by.shifts[0]), out.zero_point, out.lowest, out.highest)
    sizes = {"outs": outs, "count": count, "x_channel": count if first else 1, "x_place": 1 if first else outs}
    return [Call(Kernel("means", parameters, _MEANS), (at.input(), at.output, *map(str, facts)), sizes)]


def rows(at: At, operation: Rows) -> list[Call]:
    """Return the call that takes rows of a table by number."""
    width = operation.table.shape[1]
    kernel = Kernel("rows", ("const int32_t *x", "int8_t *y", "const int8_t *table"), _ROWS)
    return [Call(kernel, (at.input(), at.output, at.table("table")), {"count": at.size // width, "width": width})]

"""The header and the file that defines the tables and `net_run`, in integers."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.c.int8.steps import calls
from steelyard.device.forward.c.interface import body, declarations, scratch_name, size_name, values_of
from steelyard.device.forward.c.kernels import Kernels
from steelyard.device.forward.spelling import pointer, shape_text
from steelyard.device.program.arithmetic import Arithmetic
from steelyard.device.writers import c

if TYPE_CHECKING:
    from steelyard.device.exported import Export
    from steelyard.device.forward.integers import IntegerForward

_NOTE = """
/*
 * Computes the codes of the outputs of one example; number = (code - zero) * scale, code = round(number / scale) + zero, cut
 * off at -128 and 127. {inputs}
 * It computes in integers only, reads all of each x, writes all of each y, and has nothing but constants of its own: it may run
 * several times at once, each with a scratch of its own, whose contents do not matter. x, y and scratch must not overlap.
 */
"""
_SINGLE = """
/* sum * multiplier * 2^(shift - 31), half upwards */
static int32_t {name}_scaled(int32_t sum, int32_t multiplier, int shift)
{{
    const int right = 31 - shift;
    return (int32_t)(((int64_t)sum * multiplier + ((int64_t)1 << (right - 1))) >> right);
}}
"""
_DOUBLE = """
/* sum * multiplier * 2^(shift - 31): rounded at 2^-31, half upwards, then at the shift, half away from zero */
static int32_t {name}_scaled(int32_t sum, int32_t multiplier, int shift)
{{
    const int left = shift > 0 ? shift : 0, right = shift > 0 ? 0 : -shift;
    const int64_t product = (int64_t)sum * ((int32_t)1 << left) * multiplier;
    const int32_t high = (int32_t)((product + ((int64_t)1 << 30)) >> 31);
    const int32_t mask = (int32_t)(((uint32_t)1 << right) - 1u);
    return (high >> right) + ((high & mask) > (mask >> 1) + (high < 0));
}}
"""
_CODE = """
static int32_t {name}_code(int32_t sum, int32_t multiplier, int shift, int32_t zero, int32_t low, int32_t high)
{{
    const int32_t code = {name}_scaled(sum, multiplier, shift) + zero;
    return code < low ? low : code > high ? high : code;
}}
"""
_NIBBLE = """
/* a weight of 4 bits: two in a byte, the low half first */
static int32_t {name}_nibble(const uint8_t *kernel, size_t place)
{{
    return (int32_t)(((uint32_t)kernel[place >> 1] >> (place & 1u) * 4u & 15u) ^ 8u) - 8;
}}
"""


def header(export: Export, forward: IntegerForward) -> Iterator[str]:
    """Yield the header: sizes, scales, the declaration of the function, and those of the tables."""
    yield from c.opening(export)
    yield "\n"
    for memory in ("input", "output"):
        for number, place in enumerate(values_of(forward, memory)):
            shape, size = forward.shape(place), size_name(export, forward, memory, number)
            yield f"#define {size} {prod(shape)} /* {shape_text(shape)} */\n"
            known = forward.program.quantizations[place]
            if known is not None:
                yield f"#define {size}_SCALE {known.scale:.9g}f\n#define {size}_ZERO ({known.zero_point})\n"
    yield f"#define {scratch_name(export)} {max(forward.memory.size, 1)} /* bytes */\n"
    whole = [pointer(forward, "input", at) for at, known in enumerate(forward.program.input_quantizations) if known is None]
    yield from declarations(export, _NOTE, whole, declared(export, forward))


def source(export: Export, forward: IntegerForward, stem: str) -> Iterator[str]:
    """Yield the file that defines the tables and the function of its header."""
    name = export.options.name
    listed = list(calls(forward, {table.symbol: table.symbol for table in export.tables}))
    kernels = Kernels(name, [call for _, each in listed for call in each], Arithmetic())
    yield c.comment(export)
    yield f'#include "{stem}.h"\n#include <stddef.h>\n#include <string.h>\n'
    yield "\n/* a compiler whose right shift does not keep the sign stops here */\n"
    yield f"typedef char {name}_shifts[((-3) >> 1) == -2 ? 1 : -1];\n"
    yield c.start_of_bin(export, stem)
    for table, offset in c.placed(export):
        yield "\n"
        yield from c.definition(export, table, "const", offset)
    bodies = "".join(kernels.definitions())
    scaled = _DOUBLE if forward.program.rounding == "double" else _SINGLE
    for word, text in (("SCALE_", scaled), ("SCALE_code(", _CODE), ("NIBBLE_of(", _NIBBLE)):
        yield text.format(name=name) if word in bodies else ""
    yield bodies.replace("SCALE_", f"{name}_").replace("NIBBLE_of(", f"{name}_nibble(")
    yield from body(declared(export, forward), listed, kernels)


def declared(export: Export, forward: IntegerForward) -> str:
    """Return the declaration of the function."""
    parts = []
    for number, known in enumerate(forward.program.input_quantizations):
        kind = "int32_t" if known is None else "int8_t"
        parts.append(f"const {kind} {pointer(forward, 'input', number)}[{size_name(export, forward, 'input', number)}]")
    outputs = range(len(forward.program.outputs))
    parts += [f"int8_t {pointer(forward, 'output', each)}[{size_name(export, forward, 'output', each)}]" for each in outputs]
    parts.append(f"int8_t scratch[{scratch_name(export)}]")
    return f"void {export.options.name}_run({', '.join(parts)})"

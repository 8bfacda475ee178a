"""The header and the file that defines the tables and `net_run`."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.c.interface import body, declarations, scratch_name, size_name, values_of
from steelyard.device.forward.c.kernels import Kernels, spelled
from steelyard.device.forward.c.steps import calls
from steelyard.device.forward.spelling import pointer, shape_text
from steelyard.device.writers import c

if TYPE_CHECKING:
    from steelyard.device.exported import Export
    from steelyard.device.forward.forward import Forward

_NOTE = """
/*
 * Computes the outputs of one example. {inputs}
 * It reads all of each x, writes all of each y, and has nothing but constants of its own: it may run several times at once,
 * each with a scratch of its own, whose contents do not matter. x, y and scratch must not overlap.
 */
"""


def header(export: Export, forward: Forward) -> Iterator[str]:
    """Yield the header: sizes, the declaration of the function, and those of the tables."""
    yield from c.opening(export)
    yield "\n"
    for memory in ("input", "output"):
        for number, shape in enumerate(map(forward.shape, values_of(forward, memory))):
            yield f"#define {size_name(export, forward, memory, number)} {prod(shape)} /* {shape_text(shape)} */\n"
    yield f"#define {scratch_name(export)} {max(forward.memory.size, 1)}\n"
    counts = [pointer(forward, "input", each) for each in sorted(forward.integers)]
    yield from declarations(export, _NOTE, counts, declared(export, forward))


def source(export: Export, forward: Forward, stem: str) -> Iterator[str]:
    """Yield the file that defines the tables and the function of its header."""
    tables = {table.symbol: f"{table.symbol}.f" if c.is_union(export, table) else table.symbol for table in export.tables}
    listed = list(calls(forward, tables))
    kernels = Kernels(export.options.name, [call for _, each in listed for call in each], forward.arithmetic)
    yield c.comment(export)
    yield f'#include "{stem}.h"\n#include <math.h>\n#include <stddef.h>\n#include <string.h>\n'
    yield c.start_of_bin(export, stem)
    for table, offset in c.placed(export):
        yield "\n"
        yield from c.definition(export, table, "const", offset)
    yield from kernels.definitions()
    yield from body(declared(export, forward), listed, kernels)


def declared(export: Export, forward: Forward) -> str:
    """Return the declaration of the function."""
    parts = []
    for number in range(len(forward.program.input_names)):
        kind = "int32_t" if number in forward.integers else "REAL"
        parts.append(f"const {kind} {pointer(forward, 'input', number)}[{size_name(export, forward, 'input', number)}]")
    outputs = range(len(forward.program.outputs))
    parts += [f"REAL {pointer(forward, 'output', each)}[{size_name(export, forward, 'output', each)}]" for each in outputs]
    parts.append(f"REAL scratch[{scratch_name(export)}]")
    return spelled(f"void {export.options.name}_run({', '.join(parts)})", forward.arithmetic)

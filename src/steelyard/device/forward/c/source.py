"""The header and the file that defines the tables and `net_run`."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.forward.c.kernels import Kernels, spelled
from steelyard.device.forward.c.steps import calls, pointer
from steelyard.device.symbols import in_comment
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
        for number, shape in enumerate(_shapes(forward, memory)):
            yield f"#define {size_name(export, forward, memory, number)} {prod(shape)} /* {shape_text(shape)} */\n"
    yield f"#define {scratch_name(export)} {max(forward.memory.size, 1)}\n"
    yield '\n#ifdef __cplusplus\nextern "C" {\n#endif\n'
    counts = [pointer(forward, "input", each) for each in sorted(forward.integers)]
    words = f"{', '.join(counts)}: rows of a table, counted from 0; they are not checked." if counts else ""
    yield _NOTE.format(inputs=words).replace(" \n", "\n")
    yield f"{declared(export, forward)};\n"
    for table in export.tables:
        yield from c.facts(export, table)
        yield f"extern const {c.declared(export, table)};\n"
    yield "\n#ifdef __cplusplus\n}\n#endif\n"
    yield from c.ending(export, names=False)


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
    yield f"\n{declared(export, forward)}\n{{\n"
    if not any("scratch" in argument for _, each in listed for call in each for argument in call.arguments):
        yield "    (void)scratch;\n"
    for step, each in listed:
        yield f"    /* {in_comment(step.name)}: {type(step.operation).__name__}, {shape_text(step.shape)} */\n"
        yield from (f"    {kernels.called(call)}\n" for call in each)
    yield "}\n"


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


def size_name(export: Export, forward: Forward, memory: str, number: int) -> str:
    """Return the macro with the number of numbers of an input or output."""
    many = len(_shapes(forward, memory)) > 1
    return f"{export.options.name}_{'in' if memory == 'input' else 'out'}{number + 1 if many else ''}".upper()


def scratch_name(export: Export) -> str:
    """Return the macro with the number of numbers of the scratch."""
    return f"{export.options.name}_scratch".upper()


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as text."""
    return " x ".join(map(str, shape)) or "1"


def _shapes(forward: Forward, memory: str) -> list[tuple[int, ...]]:
    program = forward.program
    return list(program.input_shapes) if memory == "input" else [forward.shape(place) for place in program.outputs]

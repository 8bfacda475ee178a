"""The test of a forward pass in integers: examples with the codes of the twin, all equal, and the sums of all tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.device import literals
from steelyard.device.forward.c.interface import scratch_name, size_name
from steelyard.device.forward.spelling import pointer
from steelyard.device.writers import c

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.exported import Export, Table
    from steelyard.device.forward.integers import IntegerForward

_FACTOR, _START = 16777619, 2166136261
"""The factor and the start of FNV-1a, whose steps can be undone, so that one changed number changes the sum."""
_HEAD = """
/* Compares {name}_run with codes computed by NumPy: cc {stem}.c {stem}_test.c && ./a.out ends with 0 if all are equal. */

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "{stem}.h"

#define EXAMPLES {examples}
"""
_CHECKS = """
/* FNV-1a of numbers of 1 or 4 bytes, as unsigned ones of 32 bits */
static int is_changed(const char *name, const void *table, size_t count, size_t size, uint_least32_t expected)
{
    uint_least32_t sum = 2166136261u;
    size_t i;
    for (i = 0; i < count; i++) {
        uint8_t byte;
        uint32_t word;
        memcpy(&byte, (const char *)table + i * size, 1);
        word = byte;
        if (size == 4)
            memcpy(&word, (const char *)table + i * size, 4);
        sum = ((sum ^ word) * 16777619u) & 0xffffffffu;
    }
    if (sum == expected)
        return 0;
    printf("the numbers of %s are not those that were exported\\n", name);
    return 1;
}

static unsigned long differing(const int8_t *made, const int8_t *expected, size_t count)
{
    unsigned long found = 0;
    size_t i;
    for (i = 0; i < count; i++) {
#ifdef PRINT_CODES
        printf("%d\\n", (int)made[i]);
#endif
        found += made[i] != expected[i];
    }
    return found;
}
"""


def test(export: Export, forward: IntegerForward, stem: str) -> Iterator[str]:
    """Yield the file of the test."""
    yield c.comment(export)
    yield _HEAD.format(name=export.options.name, stem=stem, examples=len(forward.outputs[0]))
    for number, array in enumerate(forward.inputs):
        whole = forward.program.input_quantizations[number] is None
        size = size_name(export, forward, "input", number)
        yield f"\nstatic const {'int32_t' if whole else 'int8_t'} given{number + 1}[EXAMPLES * {size}] = {{\n"
        yield from _lines(array.astype("int32" if whole else "int8").reshape(-1))
    for number, array in enumerate(forward.outputs):
        yield f"\nstatic const int8_t expected{number + 1}[EXAMPLES * {size_name(export, forward, 'output', number)}] = {{\n"
        yield from _lines(array.reshape(-1))
    yield _CHECKS
    yield from _main(export, forward)


def _main(export: Export, forward: IntegerForward) -> Iterator[str]:
    outputs = [
        (pointer(forward, "output", number), size_name(export, forward, "output", number), number + 1)
        for number in range(len(forward.outputs))
    ]
    yield "\nint main(void)\n{\n"
    yield from (f"    static int8_t {word}[EXAMPLES * {size}];\n" for word, size, _ in outputs)
    yield f"    static int8_t scratch[{scratch_name(export)}];\n"
    yield "    unsigned long wrong = 0;\n    int failed = 0;\n    size_t example;\n\n"
    for table in export.tables:
        facts = f"{table.symbol}, {table.size}, {table.nbytes // table.size}, {table_sum(table)}u"
        yield f'    failed |= is_changed("{table.symbol}", {facts});\n'
    given = [f"given{at + 1} + example * {size_name(export, forward, 'input', at)}" for at in range(len(forward.inputs))]
    arguments = [*given, *(f"{word} + example * {size}" for word, size, _ in outputs), "scratch"]
    yield "    for (example = 0; example < EXAMPLES; example++) {\n        memset(scratch, 0x55, sizeof scratch);\n"
    yield f"        {export.options.name}_run({', '.join(arguments)});\n    }}\n"
    for word, size, number in outputs:
        yield f"    wrong += differing({word}, expected{number}, (size_t)EXAMPLES * {size});\n"
    yield "    failed |= wrong != 0;\n"
    yield f'    printf("{export.options.name}: %lu codes differ in %d examples: %s\\n", wrong, EXAMPLES, '
    yield 'failed ? "failed" : "passed");\n    return failed;\n}\n'


def table_sum(table: Table) -> int:
    """Return the sum of the bits of a table, as the test computes it."""
    import numpy as np

    total = _START
    for block in table.plain.blocks():
        for word in np.ascontiguousarray(block).view(f"uint{8 * block.itemsize}").tolist():
            total = (total ^ word) * _FACTOR & 0xFFFFFFFF
    return total


def _lines(run: Array) -> Iterator[str]:
    for start in range(0, run.size, literals.LINE):
        yield f"    {', '.join(literals.integers(run[start : start + literals.LINE], ''))},\n"
    yield "};\n"

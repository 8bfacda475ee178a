"""The test of a forward pass: examples with the outputs that the net gives, and the sums of the bits of all tables.

An output shows a changed weight only if it is large enough, so that each table has a sum of its bits, which any change of one
bit changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.device import literals
from steelyard.device.forward.c.interface import scratch_name, size_name
from steelyard.device.forward.c.kernels import spelled
from steelyard.device.forward.checksum import table_sum
from steelyard.device.forward.spelling import pointer
from steelyard.device.writers import c

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.exported import Export
    from steelyard.device.forward.forward import Forward

_HEAD = """
/* Compares {name}_run with the net: cc {stem}.c {stem}_test.c -lm && ./a.out ends with 0 if their outputs agree. */

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "{stem}.h"

#define EXAMPLES {examples}
#define TOLERANCE {tolerance!r} /* of the largest output */
"""
_SUM = """
/* FNV-1a of the bits of numbers, in words of 32 bits, the lower one first */
static uint_least32_t sum_of(const void *table, size_t count, size_t size)
{
    uint_least32_t sum = 2166136261u;
    size_t i;
    for (i = 0; i < count; i++) {
        uint64_t bits = 0;
        uint32_t word;
        uint16_t half;
        if (size == 8) {
            memcpy(&bits, (const char *)table + i * size, 8);
        } else if (size == 4) {
            memcpy(&word, (const char *)table + i * size, 4);
            bits = word;
        } else {
            memcpy(&half, (const char *)table + i * size, 2);
            bits = half;
        }
        sum = ((sum ^ (uint_least32_t)(bits & 0xffffffffu)) * 16777619u) & 0xffffffffu;
        if (size == 8)
            sum = ((sum ^ (uint_least32_t)(bits >> 32)) * 16777619u) & 0xffffffffu;
    }
    return sum;
}

static int is_changed(const char *name, const void *table, size_t count, size_t size, uint_least32_t sum)
{
    if (sum_of(table, count, size) == sum)
        return 0;
    printf("the numbers of %s are not those that were exported\\n", name);
    return 1;
}
"""
_ERROR = """
/* the largest difference, as a share of the largest number */
static double error_of(const REAL *made, const BITS *expected, size_t count)
{
    double most = 0.0, largest = 0.0;
    size_t i;
    for (i = 0; i < count; i++) {
        REAL number;
        double apart, size;
        memcpy(&number, &expected[i], sizeof number);
#ifdef PRINT_BITS
        {
            BITS bits;
            memcpy(&bits, &made[i], sizeof bits);
            printf("%08lx%s", (unsigned long)(bits & 0xffffffffu), sizeof bits == 4 ? "\\n" : "");
            if (sizeof bits == 8)
                printf("%08lx\\n", (unsigned long)((uint64_t)bits >> 32));
        }
#endif
        apart = (double)made[i] - (double)number;
        size = (double)number;
        apart = apart < 0.0 ? -apart : apart;
        size = size < 0.0 ? -size : size;
        if (!(apart <= most))
            most = apart;
        largest = size > largest ? size : largest;
    }
    return largest > 0.0 ? most / largest : most;
}
"""


def test(export: Export, forward: Forward, stem: str) -> Iterator[str]:
    """Yield the file of the test."""
    proof, name = forward.proof, export.options.name
    examples = len(proof.outputs[0])
    yield c.comment(export)
    yield _HEAD.format(name=name, stem=stem, examples=examples, tolerance=proof.tolerance)
    for number, array in enumerate(proof.inputs):
        size = size_name(export, forward, "input", number)
        if number in forward.integers:
            yield f"\nstatic const int32_t given{number + 1}[EXAMPLES * {size}] = {{\n"
            yield from _lines(array.astype("int32").reshape(-1), literals.integers)
        else:
            yield f"\nstatic const {_bits(forward)} given{number + 1}[EXAMPLES * {size}] = {{\n"
            yield from _lines(array.astype(forward.arithmetic.numbers).reshape(-1), _hexadecimal)
        yield "};\n"
    for number, array in enumerate(proof.outputs):
        size = size_name(export, forward, "output", number)
        yield f"\nstatic const {_bits(forward)} expected{number + 1}[EXAMPLES * {size}] = {{\n"
        yield from _lines(array.astype(forward.arithmetic.numbers).reshape(-1), _hexadecimal)
        yield "};\n"
    yield _SUM
    yield spelled(_ERROR, forward.arithmetic).replace("BITS", _bits(forward)).replace(f"PRINT_{_bits(forward)}", "PRINT_BITS")
    yield from _main(export, forward)


def _main(export: Export, forward: Forward) -> Iterator[str]:
    program, real = forward.program, spelled("REAL", forward.arithmetic)
    yield "\nint main(void)\n{\n"
    outputs = range(len(program.outputs))
    for number in range(len(program.input_names)):
        kind = "int32_t" if number in forward.integers else real
        yield f"    static {kind} {pointer(forward, 'input', number)}[{size_name(export, forward, 'input', number)}];\n"
    for number in outputs:
        size = size_name(export, forward, "output", number)
        yield f"    static {real} {pointer(forward, 'output', number)}[EXAMPLES * {size}];\n"
    yield f"    static {real} scratch[{scratch_name(export)}];\n"
    yield "    double error = 0.0;\n    int failed = 0;\n    size_t example;\n\n"
    for table in export.tables:
        value = f"{table.symbol}.f" if c.is_union(export, table) else table.symbol
        facts = f"{value}, {table.size}, {table.nbytes // table.size}, {table_sum(table)}u"
        yield f'    failed |= is_changed("{table.symbol}", {facts});\n'
    yield "    for (example = 0; example < EXAMPLES; example++) {\n"
    arguments = []
    for number in range(len(program.input_names)):
        word = pointer(forward, "input", number)
        size = size_name(export, forward, "input", number)
        yield f"        memcpy({word}, &given{number + 1}[example * {size}], sizeof {word});\n"
        arguments.append(word)
    arguments += [
        f"&{pointer(forward, 'output', number)}[example * {size_name(export, forward, 'output', number)}]" for number in outputs
    ]
    yield "        memset(scratch, 0xff, sizeof scratch); /* NaN, of which nothing may come through */\n"
    yield f"        {export.options.name}_run({', '.join(arguments)}, scratch);\n    }}\n"
    for number in outputs:
        word, size = pointer(forward, "output", number), size_name(export, forward, "output", number)
        yield f"    {{\n        double apart = error_of({word}, expected{number + 1}, (size_t)EXAMPLES * {size});\n"
        yield "        error = apart <= error ? error : apart;\n    }\n"
    yield "    failed |= !(error <= TOLERANCE);\n"
    yield f'    printf("{export.options.name}: error %.3g of the largest output in %d examples, tolerance %.3g: %s\\n",\n'
    yield '           error, EXAMPLES, TOLERANCE, failed ? "failed" : "passed");\n    return failed;\n}\n'


def _bits(forward: Forward) -> str:
    return "uint32_t" if forward.arithmetic.numbers == "float32" else "uint64_t"


def _hexadecimal(run: Array) -> list[str]:
    return literals.bits(run, "u" if run.itemsize == 4 else "ULL")


def _lines(run: Array, text: literals.Text) -> Iterator[str]:
    for start in range(0, run.size, literals.LINE):
        yield f"    {', '.join(text(run[start : start + literals.LINE]))},\n"
